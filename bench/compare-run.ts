/** `npm run bench:compare A.json B.json` */
import { renderComparison } from './compare.js';

const files = process.argv.slice(2);
if (files.length !== 2 || files.includes('--help')) {
  const wanted = files.includes('--help');
  process[wanted ? 'stdout' : 'stderr'].write('usage: npm run bench:compare A.json B.json (files of bench/results/)\n');
  process.exitCode = wanted ? 0 : 2;
} else {
  try {
    process.stdout.write(renderComparison(files[0], files[1]));
  } catch (error) {
    process.stderr.write(`bench:compare: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
