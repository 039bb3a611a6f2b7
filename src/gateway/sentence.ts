/** The sentences of the statuses that the gateway itself answers with, as bytes. Fixed ones are encoded once. */
const encoder = new TextEncoder();

export function sentence(text: string): Uint8Array {
  return encoder.encode(text);
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
  answerTooLong: sentence('the parts of the answer together are longer than one answer may be'),
  cut: sentence('the gateway shut down before the backend answered'),
} as const;
