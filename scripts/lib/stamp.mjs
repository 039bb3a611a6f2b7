import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './root.mjs';

/** The files below a folder of the repository that `wanted` accepts, as paths relative to the repository. */
export function filesBelow(folder, wanted = () => true) {
  let entries;
  try {
    entries = readdirSync(join(root, folder), { withFileTypes: true });
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(path, wanted);
    return wanted(path) ? [path] : [];
  });
}

/** A digest of what a build depends on: names, sizes and times of files, and any further words. */
export function fingerprint(files, words = []) {
  const hash = createHash('sha256');
  for (const path of [...files].sort()) {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    hash.update(`${path}\0${stat?.size}\0${stat?.mtimeMs}\n`);
  }
  for (const word of words) hash.update(`${word}\n`);
  return hash.digest('hex');
}

/** A stamp lies in the folder that was built, so that deleting the folder deletes it too. */
export function isStamped(path, digest) {
  try {
    return readFileSync(join(root, path), 'utf8') === digest;
  } catch {
    return false;
  }
}

export function stamp(path, digest) {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), digest);
}
