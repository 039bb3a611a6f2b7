import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { root } from './root.mjs';

const FOLDERS = ['src', 'test/simulation'];
const OPTIONS = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022, verbatimModuleSyntax: true };

/** Strips the types from the sources and the simulation, file by file, into a folder of their own: a second, whatever was built. */
export function compileSimulation(folder) {
  compileSources(folder, FOLDERS);
}

/** The same of any folders of sources. */
export function compileSources(folder, sources) {
  for (const path of sources.flatMap(sourcesBelow)) compileFile(folder, path, readFileSync(join(root, path), 'utf8'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
}

/** @param path from the root, whose place it takes below `folder` */
export function compileFile(folder, path, text) {
  const { outputText } = ts.transpileModule(text, { compilerOptions: OPTIONS, fileName: path });
  const target = join(folder, path.replace(/\.ts$/, '.js'));
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, outputText);
}

function sourcesBelow(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath.slice(root.length + 1), entry.name));
}
