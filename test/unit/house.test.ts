// The rules of the house that no compiler checks: which way the arrows point, and what stays in which room.
// docs/ARCHITECTURE.md draws them; a finding names the file, the rule and what was found.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

function filesBelow(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => posix.join(entry.parentPath.slice(root.length + 1), entry.name))
    .filter((path) => !/(^|\/)(node_modules|dist|dist-tools|results)\//.test(path))
    .sort();
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** Comments may name what the code below them must not. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

const nativeFiles = filesBelow('native', /\.(h|cc)$/);
const sourceFiles = filesBelow('src', /\.ts$/);
const testFiles = filesBelow('test', /\.(ts|h|cc)$/);

// --- arrows ----------------------------------------------------------------------------------------------------------

interface Room {
  name: string;
  /** A file is in the first room whose pattern it matches. */
  files: RegExp;
  /** The rooms directly below; it reaches these, what they reach, and itself. */
  above: string[];
}

const NATIVE: Room[] = [
  { name: 'base', files: /^native\/base\//, above: [] },
  { name: 'buffer', files: /^native\/buffer\//, above: ['base'] },
  { name: 'timer', files: /^native\/timer\//, above: ['base'] },
  { name: 'framer', files: /^native\/framer\//, above: ['base'] },
  { name: 'driver', files: /^native\/driver\//, above: ['buffer'] },
  { name: 'addon', files: /^native\/addon\./, above: ['bridge'] },
  { name: 'bridge', files: /^native\/bridge[._]/, above: ['reactor_group'] },
  { name: 'reactor_group', files: /^native\/reactor_group\./, above: ['connection'] },
  { name: 'connection', files: /^native\/(connection|listener)[._]/, above: ['reactor'] },
  { name: 'reactor', files: /^native\//, above: ['buffer', 'timer', 'framer', 'driver'] },
];

const SOURCE: Room[] = [
  { name: 'limits', files: /^src\/(limits|errors|bytes|integer|package-root|engine\/tables\.gen)\.ts$/, above: [] },
  { name: 'timer', files: /^src\/timer\//, above: ['limits'] },
  { name: 'framing', files: /^src\/framing\//, above: ['limits'] },
  { name: 'engine', files: /^src\/engine\//, above: ['framing', 'timer'] },
  { name: 'net', files: /^src\/net\//, above: ['engine'] },
  { name: 'register', files: /^src\/register/, above: ['net'] },
  { name: 'server', files: /^src\/(server|frame-)/, above: ['engine'] },
  { name: 'protocol', files: /^src\/protocol\//, above: ['engine'] },
  { name: 'sdk', files: /^src\/(backend-sdk|client)\//, above: ['protocol'] },
  {
    name: 'gateway',
    files: /^src\/gateway\/(gateway|relay|report|refusal-log|pool|listener|([a-z]+-)?session)\b/,
    above: ['backend-connection'],
  },
  { name: 'backend-connection', files: /^src\/gateway\/backend-/, above: ['allocator, tracker'] },
  {
    name: 'allocator, tracker',
    files: /^src\/gateway\/(selection\/|allocator|tracker|options)/,
    above: ['task, backend'],
  },
  // And the lists that tasks wait in: a task's slot holds its place in the queue.
  { name: 'task, backend', files: /^src\/gateway\//, above: ['protocol'] },
  { name: 'config', files: /^src\/config\//, above: ['gateway'] },
  { name: 'metrics', files: /^src\/(metrics|admin|log)\.ts$/, above: ['gateway'] },
  { name: 'index', files: /^src\/index\.ts$/, above: ['server', 'sdk', 'config', 'metrics'] },
  { name: 'cli', files: /^src\//, above: ['index'] },
];

function reachOf(room: Room, rooms: Room[]): Set<string> {
  const reach = new Set([room.name]);
  for (const name of room.above) {
    const below = rooms.find((candidate) => candidate.name === name);
    if (!below) throw new Error(`no room ${name}`);
    for (const reached of reachOf(below, rooms)) reach.add(reached);
  }
  return reach;
}

/** Every reference from a file to another one that its room does not reach. */
function wrongArrows(files: string[], rooms: Room[], references: (path: string) => string[]): string[] {
  const roomOf = (path: string) => rooms.find((room) => room.files.test(path));
  return files.flatMap((path) => {
    const room = roomOf(path);
    if (!room) return [`${path}: in no room`];
    const reach = reachOf(room, rooms);
    return references(path)
      .filter((target) => !reach.has(roomOf(target)?.name ?? 'none'))
      .map((target) => `${path} (${room.name}) must not reach ${target} (${roomOf(target)?.name})`);
  });
}

function includesOf(path: string): string[] {
  return [...read(path).matchAll(/^#include "([^"]+)"/gm)].map(([, target]) => `native/${target}`);
}

function importsOf(path: string): string[] {
  const imports = withoutComments(read(path)).matchAll(/(?:\bfrom|\bimport\(?)\s*'(\.[^']+)'/g);
  return [...imports].map(([, target]) => posix.join(dirname(path), target).replace(/\.js$/, '.ts'));
}

describe('arrows point one way', () => {
  test('native includes', () => expect(wrongArrows(nativeFiles, NATIVE, includesOf)).toEqual([]));
  test('TypeScript imports', () => expect(wrongArrows(sourceFiles, SOURCE, importsOf)).toEqual([]));
});

// --- what stays in which room ----------------------------------------------------------------------------------------

interface Rule {
  name: string;
  files: string[];
  /** The files the rule is not for. */
  except?: RegExp;
  /** Whether comments count too. */
  inComments?: boolean;
  never: RegExp;
}

const everything = [
  ...nativeFiles,
  ...sourceFiles,
  ...testFiles,
  ...filesBelow('bench', /\.(ts|mjs|h|cc?)$/),
  ...filesBelow('examples', /\.(ts|mjs|py|yaml|json)$/),
  ...filesBelow('scripts', /\.mjs$/),
  ...filesBelow('docs', /\.md$/),
  ...readdirSync(root).filter((name) => /\.(md|json|txt|gyp)$/.test(name)),
];

const RULES: Rule[] = [
  {
    name: 'only the addon and the bridge know Node',
    files: nativeFiles,
    except: /^native\/(addon|bridge)[._]/,
    never: /#include\s*[<"](node_api|js_native_api|uv)\.h[>"]/,
  },
  {
    name: 'only drivers make system calls of io_uring and epoll',
    files: nativeFiles,
    except: /^native\/driver\//,
    never:
      /\bio_uring_(setup|enter|register|sqe|cqe|params)\b|\bepoll_(create1?|ctl|p?wait2?|event)\b|linux\/io_uring\.h|sys\/epoll\.h/,
  },
  {
    name: 'the core throws nothing and prints nothing',
    files: nativeFiles,
    except: /^native\/base\/check\./,
    never: /\bthrow\b|\btry\s*\{|#include <iostream>|\bprintf\(/,
  },
  {
    name: 'only the native engine knows the addon',
    files: sourceFiles,
    // Its parts lie beside it in one folder.
    except: /^src\/engine\/(?!engine|select|portable)/,
    never: /from '[^']*\/(load-addon|native)\.js'|node-gyp-build/,
  },
  {
    name: 'only engines touch sockets',
    files: sourceFiles,
    // src/net is what node:net is, and hands through what needs no engine.
    except: /^src\/(engine|net|register)\b/,
    never: /import (?!\{ isIP(v[46])?(, isIPv[46])* \})[^;]*from 'node:(net|tls|dgram)'/,
  },
  {
    name: 'the gateway is told the time and starts no timer of its own',
    files: sourceFiles.filter((path) => path.startsWith('src/gateway/')),
    never: /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b|\bprocess\.hrtime\b|\bset(Timeout|Interval)\b/,
  },
  {
    name: 'no test is left out or left alone',
    files: testFiles,
    never: /\b(describe|test|it)\.(only|skip|todo)\(|doctest::(skip|should_fail)\(/,
  },
  {
    name: 'nothing is left for later',
    files: everything,
    inComments: true,
    except: /^test\/unit\/house\.test\.ts$/,
    never: /\b(TODO|FIXME|XXX)\b/,
  },
  {
    name: "no path of somebody's machine",
    files: everything,
    inComments: true,
    never: /(^|[\s"'`(=:])\/(root|work|Users\/\w+|home\/\w+)\//m,
  },
];

describe('what stays in which room', () => {
  test.each(RULES)('$name', ({ name, files, except, inComments, never }) => {
    const findings = files
      .filter((path) => !except?.test(path))
      .flatMap((path) => {
        const found = never.exec(inComments ? read(path) : withoutComments(read(path)));
        return found ? [`${path}: ${name} (found: ${found[0].trim()})`] : [];
      });
    expect(findings).toEqual([]);
  });
});

// --- lists that must agree -------------------------------------------------------------------------------------------

describe('lists agree', () => {
  test('native/sources.txt names every native source', () => {
    const listed = read('native/sources.txt')
      .split('\n')
      .filter((line) => /^[^#\s]/.test(line));
    const present = nativeFiles.filter((path) => path.endsWith('.cc'));
    expect([...listed].sort()).toEqual(present);
  });

  test('generated tables are what protocol/tables.json says', () => {
    execFileSync(process.execPath, ['scripts/codegen.mjs', '--check'], { cwd: root, stdio: 'pipe' });
  });

  test('docs/DEPENDENCIES.md has a reason for every dependency', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'));
    const document = read('docs/DEPENDENCIES.md');
    const names = Object.keys({ ...dependencies, ...devDependencies });
    expect(names.filter((name) => !document.includes(`\`${name}\``))).toEqual([]);
  });
});
