// Loaded before a program that runProgram starts: it leads its own process group, so a signal that no one can pass on
// (SIGKILL to the group of npm) would leave it behind. The channel to its parent ends with the parent.
process.channel?.unref();
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
