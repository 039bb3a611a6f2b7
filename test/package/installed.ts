/** What the tests of the package share: the tarball, a project that has it installed, and Node in several versions. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A Node binary, or why there is none. */
export interface NodeVersion {
  readonly major: number;
  readonly binary?: string;
  readonly missing?: string;
}

export interface Installed {
  readonly tarball: string;
  /** An empty project in which the tarball was installed; not there where its dependencies are not to be had. */
  readonly project?: string;
  /** Why not. */
  readonly missing?: string;
  readonly nodes: readonly NodeVersion[];
}

declare module 'vitest' {
  interface ProvidedContext {
    installed: Installed;
  }
}

const MAJORS = [20, 22, 24];

export default function setup(vitest: TestProject): () => Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ringway-package-'));
  const tarball = pack(folder);
  const project = emptyProject(join(folder, 'project'));
  const missing = install(project, [tarball]);
  const installed: Installed = {
    tarball,
    ...(missing === undefined ? { project } : { missing }),
    nodes: nodeVersions(join(folder, 'nodes')),
  };
  for (const reason of [installed.missing, ...installed.nodes.map((node) => node.missing)])
    if (reason !== undefined) console.log(`not tested: ${reason}`);
  vitest.provide('installed', installed);
  return () => rm(folder, { recursive: true, force: true });
}

function pack(folder: string): string {
  const args = [join(ROOT, 'scripts', 'pack.mjs'), '--pack-destination', folder, '--json'];
  const printed = execFileSync(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  const [{ filename }] = JSON.parse(printed.slice(printed.indexOf('['))) as [{ filename: string }];
  return join(folder, filename);
}

export function emptyProject(folder: string): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "project", "private": true }\n');
  return folder;
}

/** Installs without scripts, from npm's cache as far as it has them. @returns why it could not, in one line */
export function install(folder: string, what: readonly string[]): string | undefined {
  const args = [
    'install',
    '--ignore-scripts',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--fetch-retries=0',
    ...what,
  ];
  try {
    runNpm(args, folder);
    return undefined;
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    const line = stderr.split('\n').find((text) => /npm error/.test(text)) ?? (error as Error).message;
    return `npm could not install ${what.join(' ')} (${line.trim()})`;
  }
}

function runNpm(args: readonly string[], cwd: string): void {
  const [command, ...before] = npm();
  execFileSync(command, [...before, ...args], { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The npm that runs us, or the one on the path. */
export function npm(): string[] {
  const running = process.env.npm_execpath;
  return running?.endsWith('.js') ? [process.execPath, running] : ['npm'];
}

/** The running Node is one of them; the others are npm packages that hold a binary. */
function nodeVersions(folder: string): NodeVersion[] {
  const running = Number(process.versions.node.split('.')[0]);
  const asked = MAJORS.filter((major) => major !== running);
  const name = `node-${process.platform}-${process.arch}`;
  emptyProject(folder);
  const missing = install(
    folder,
    asked.map((major) => `node${major}@npm:${name}@${major}`),
  );
  return [...new Set([...MAJORS, running])].sort().map((major) => {
    if (major === running) return { major, binary: process.execPath };
    const binary = join(folder, 'node_modules', `node${major}`, 'bin', 'node');
    if (missing === undefined && existsSync(binary)) return { major, binary };
    return { major, missing: `Node ${major} is not here: ${missing ?? `${name} has no bin/node`}` };
  });
}

export function packageJson(): Record<string, never> & { exports: Record<string, unknown>; version: string } {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
}
