/** As an uncaught exception, without stopping what stands behind the handler that threw. */
export function surface(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
