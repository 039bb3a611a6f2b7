import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { findProgram } from '../../bench/find-program.js';

const folder = mkdtempSync(join(tmpdir(), 'ringway-find-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a daemon is found where only root’s PATH looks, after what the PATH names', () => {
  const put = (name: string, mode: number) => {
    const file = join(folder, name, 'relay');
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(file, '');
    chmodSync(file, mode);
    return file;
  };
  const [first, sbin] = [put('bin', 0o755), put('sbin', 0o755)];
  put('data', 0o644);
  const path = `${join(folder, 'data')}:${join(folder, 'bin')}`;
  expect(findProgram('relay', path, [join(folder, 'sbin')])).toBe(first);
  expect(findProgram('relay', join(folder, 'data'), [join(folder, 'sbin')])).toBe(sbin);
  expect(findProgram('relay', '', [])).toBeUndefined();
});
