// What the prebuilt engine asks of the machine it is loaded on.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT } from './installed.js';

/** As Node's own binaries of 20, 22 and 24: wherever they run, the engine loads. */
const FLOOR = [2, 28];

const folder = join(ROOT, 'prebuilds', `${process.platform}-${process.arch}`);
const addon = existsSync(folder) ? readdirSync(folder).find((name) => name.endsWith('.glibc.node')) : undefined;
const objdump = spawnSync('objdump', ['--version']).status === 0;
const reason = addon === undefined ? 'no engine for glibc was prebuilt here' : objdump ? undefined : 'no objdump here';
if (reason !== undefined) console.log(`not tested: ${reason}`);

function dump(option: string): string {
  return execFileSync('objdump', [option, join(folder, addon as string)], { encoding: 'utf8' });
}

describe.skipIf(reason !== undefined)('the prebuilt engine', () => {
  test('takes no symbol that is younger than glibc 2.28', () => {
    const versions = [...dump('-T').matchAll(/\(?GLIBC_(\d+)\.(\d+)[.\d]*\)?\s+(\S+)$/gm)];
    expect(versions.length).toBeGreaterThan(20);
    const younger = versions.filter(
      ([, major, minor]) => Number(major) > FLOOR[0] || (Number(major) === FLOOR[0] && Number(minor) > FLOOR[1]),
    );
    expect(younger.map(([line]) => line)).toEqual([]);
  });

  test('brings its C++ runtime: it needs libc and the loader', () => {
    const needed = [...dump('-p').matchAll(/^\s*NEEDED\s+(\S+)$/gm)].map(([, name]) => name);
    expect(needed.filter((name) => !/^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|ld-linux.*)$/.test(name))).toEqual([]);
    expect(needed).toContain('libc.so.6');
  });

  test('shows Node its entry points and nobody anything else', () => {
    const shown = [...dump('-T').matchAll(/^\S+ g\s+DF \.text\s.*\s(\S+)$/gm)].map(([, name]) => name);
    expect(shown.sort()).toEqual(['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
  });

  test('stays mapped when it is unloaded', () => {
    expect(dump('-p')).toMatch(/FLAGS_1\s+0x0*8\b|NODELETE/);
  });
});
