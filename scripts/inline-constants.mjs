// After tsc, in dist/ only: `Word.state`, `Kind.request` and their like become numbers. V8 folds such a property load too, but
// counts its bytecodes when it decides what to inline, and the way of one message is many small functions (a relayed request on a
// stub engine: 201 ns before, 161 after). Names stay in the sources; TypeScript's own `const enum` would need its own syntax. tsc
// therefore writes every file each time (not `incremental`): one that is unchanged would keep the numbers of an older table.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));

/** Objects of numbers, by the module that exports them. */
const TABLES = {
  'protocol/rmp.js': ['At', 'Flag', 'Kind'],
  'engine/tables.gen.js': ['Status', 'ENGINE_LIMITS'],
  'engine/native.js': ['Control', 'EventKind', 'CommandKind'],
  'gateway/task-table.js': ['Word', 'Side', 'Time', 'SideTime', 'Rare', 'Mark', 'TaskState', 'AttemptEnd'],
  'gateway/in-flight-index.js': ['Window'],
  'gateway/tracker.js': ['Outcome'],
};

const values = new Map();
for (const [module, names] of Object.entries(TABLES)) {
  const exported = await import(pathToFileURL(join(dist, module)).href);
  for (const name of names)
    if (exported[name] !== undefined) values.set(`${join(dist, module)} ${name}`, exported[name]);
}

/** The tables that a file imports or defines, by the name they have there. */
function tablesOf(file, text) {
  const tables = new Map();
  for (const [, names, from] of text.matchAll(/^import \{([^}]*)\} from '(\.[^']*)';$/gm)) {
    for (const name of names.split(',').map((part) => part.trim())) {
      const table = values.get(`${resolve(dirname(file), from)} ${name}`);
      if (table) tables.set(name, table);
    }
  }
  for (const [, name] of text.matchAll(/^export const (\w+) = \{$/gm)) {
    const table = values.get(`${file} ${name}`);
    if (table) tables.set(name, table);
  }
  return tables;
}

for (const entry of readdirSync(dist, { recursive: true })) {
  if (!entry.endsWith('.js')) continue;
  const file = join(dist, entry);
  const text = readFileSync(file, 'utf8');
  const tables = tablesOf(file, text);
  if (tables.size === 0) continue;
  const inlined = text.replace(/(?<![\w.$])([A-Z]\w*)\.(\w+)(?!\w|\()/g, (whole, name, key) => {
    const value = tables.get(name)?.[key];
    return typeof value === 'number' ? String(value) : whole;
  });
  if (inlined !== text) writeFileSync(file, inlined);
}
