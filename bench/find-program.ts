/** Where a program lies. Distributions keep daemons in folders that only root's PATH names. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const ALSO_IN = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Undefined: in none of the folders. */
export function findProgram(name: string, path = process.env.PATH ?? '', alsoIn = ALSO_IN): string | undefined {
  const folders = [...path.split(delimiter), ...alsoIn].filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
