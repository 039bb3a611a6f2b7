/** The command line of npm: the one that runs us, or the one on the path. */
export function npm(...args) {
  const running = process.env.npm_execpath;
  return running?.endsWith('.js') ? [process.execPath, running, ...args] : ['npm', ...args];
}
