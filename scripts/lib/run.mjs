import { spawn, spawnSync } from 'node:child_process';
import { root } from './root.mjs';

/** A failure whose sentence is all that the user needs: printed without a stack. */
export class SetupError extends Error {}

/** Prints a step of the set-up. On stderr: stdout belongs to the program that was asked for. */
export function say(sentence) {
  console.error(`ringway: ${sentence}`);
}

/** Runs a command to its end with its output shown (stdout as stderr); throws `what failed` otherwise. */
export function run(what, command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (result.error) throw new SetupError(`${what} failed: ${result.error.message}`);
  if (result.status !== 0) throw new SetupError(`${what} failed: ${ending(result)}`);
}

/** Runs a command quietly. Returns its stdout, or undefined when it is absent or fails. */
export function capture(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

function ending({ status, signal }) {
  return signal ? `ended by ${signal}` : `exit status ${status}`;
}

/**
 * One Ctrl-C comes here twice: from the terminal, which signals the whole foreground group, and from npm, which hands
 * its own on. Two of a kind within this time are one.
 */
const SAME_SIGNAL_MS = 1000;

/**
 * Runs a Node program in the foreground and ends as it ended. The program leads a process group of its own, so the
 * terminal does not signal it; what this process receives is passed on, exactly once.
 */
export function runProgram(file, args) {
  const preload = new URL('end-with-parent.mjs', import.meta.url).href;
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc'];
  const child = spawn(process.execPath, ['--import', preload, file, ...args], { cwd: root, stdio, detached: true });
  const lastMs = new Map();
  const handlers = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'].map((signal) => {
    const forward = () => {
      const nowMs = performance.now();
      if (nowMs - (lastMs.get(signal) ?? -Infinity) < SAME_SIGNAL_MS) return;
      lastMs.set(signal, nowMs);
      child.kill(signal);
    };
    process.on(signal, forward);
    return [signal, forward];
  });
  child.on('error', (error) => {
    console.error(`ringway: ${file} did not start: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (status, signal) => {
    for (const [name, forward] of handlers) process.off(name, forward);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = status;
  });
}

/** Runs a script's body: a SetupError becomes one line and exit status 1, anything else keeps its stack. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`ringway: ${error.message}`);
    process.exitCode = 1;
  }
}
