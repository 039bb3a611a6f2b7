/** Real text, in pieces of a size that people send to a model. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Characters. Shorter ones are headings and badges; longer ones are cut at the end of a sentence. */
const SHORTEST = 40;
const LONGEST = 600;

/** The README files that the installation brought along. */
export function readmeTexts(nodeModules: string): string[] {
  const paths = readdirSync(nodeModules, { recursive: true, encoding: 'utf8' })
    .filter((path) => /(^|[/\\])readme\.(md|markdown)$/i.test(path))
    .sort();
  return unique(paths.flatMap((path) => paragraphs(readFileSync(join(nodeModules, path), 'utf8'))));
}

export function fileTexts(path: string): string[] {
  return unique(paragraphs(readFileSync(path, 'utf8')));
}

function paragraphs(markdown: string): string[] {
  return prose(markdown)
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.replace(/\s+/g, ' ').trim())
    .flatMap(pieces)
    .filter((text) => text.length >= SHORTEST && text.split(' ').length >= 6);
}

/** Without what is no text: code, tags, images, tables; links keep their words. */
function prose(markdown: string): string {
  return markdown
    .replace(/\r/g, '')
    .replace(/^(```|~~~)[\s\S]*?^\1/gm, '')
    .replace(/<!--[\s\S]*?-->/g, '')
    .replace(/!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])/g, '')
    .replace(/\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])/g, '$1')
    .replace(/<\/?[a-z][^>]*>/gi, '')
    .replace(/^( {4}|\t|\s*\||\s*\[[^\]]+\]:).*$/gm, '')
    .replace(/^\s*([-*+>]|\d+\.)\s+/gm, '\n')
    .replace(/^#+\s.*$/gm, '')
    .replace(/[`*]/g, '');
}

function pieces(paragraph: string): string[] {
  if (paragraph.length <= LONGEST) return [paragraph];
  const cut: string[] = [];
  let piece = '';
  for (const sentence of paragraph.split(/(?<=[.!?])\s+/)) {
    if (piece.length > 0 && piece.length + sentence.length >= LONGEST) {
      cut.push(piece);
      piece = '';
    }
    piece = `${piece} ${sentence}`.trim().slice(0, LONGEST);
  }
  return [...cut, piece];
}

function unique(texts: string[]): string[] {
  return [...new Set(texts)];
}
