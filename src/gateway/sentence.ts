/** The sentences of the statuses that the gateway itself answers with, as bytes. Fixed ones are encoded once. */
const encoder = new TextEncoder();

export function sentence(text: string): Uint8Array {
  return encoder.encode(text);
}

/** As much of a sentence as fits, in whole characters: over the limit it would break the connection of who reads it. */
export function cutSentence(text: Uint8Array, maxBytes: number): Uint8Array {
  if (text.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && (text[end] & 0xc0) === 0x80) end--;
  return text.subarray(0, end);
}

export const Sentence = {
  unknownRoute: sentence('no such route'),
  draining: sentence('the gateway is draining'),
  queueFull: sentence('too many requests wait for a backend'),
  deadline: sentence('the deadline passed before the backend answered'),
  neverSent: sentence('no backend could take the request before its deadline'),
  cancelled: sentence('cancelled by the client'),
  linkBroke: sentence('the connection to the backend broke before it answered'),
  linkBrokeUnsent: sentence('the connection to the backend broke before the request was sent'),
  clientTooSlow: sentence('the client does not take its partial responses'),
  requestTooLong: sentence('the request is longer than the backend takes'),
  responseTooLong: sentence('the response is longer than the client takes'),
  answerTooLong: sentence('the parts of the answer together are longer than one answer may be'),
  cut: sentence('the gateway shut down before the backend answered'),
} as const;
