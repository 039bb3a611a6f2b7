/**
 * How many partial responses of one request may be on their way or wait for their reader. The first is granted with the request;
 * how many more follows from those that came, so that a window of long ones fits where one of short ones does.
 */

/**
 * @param most whatever the lengths
 * @param received so far: the window doubles with them, so that a short first one says little of those behind it
 * @param longest bytes of the longest so far
 * @param maxBytes what all that are granted may take together, if none is longer than the longest so far
 * @returns at least 1, or a stream would stand still
 */
export function streamWindow(most: number, received: number, longest: number, maxBytes: number): number {
  const fitting = longest * most <= maxBytes ? most : Math.floor(maxBytes / longest);
  return Math.max(1, Math.min(most, received * 2, fitting));
}
