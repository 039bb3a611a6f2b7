import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The repository: this file runs from bench/ and, compiled, from dist-tools/bench/. */
export const root = find(import.meta.dirname);

function find(directory: string): string {
  return existsSync(join(directory, 'package.json')) ? directory : find(dirname(directory));
}
