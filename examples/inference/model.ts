/** The model: wink-nlp with its English model. Sentiment and named entities of a text. */
import model from 'wink-eng-lite-web-model';
import winkNLP from 'wink-nlp';

export interface Entity {
  readonly value: string;
  readonly type: string;
}

export interface Analysis {
  /** -1 (bad) to 1 (good). */
  readonly sentiment: number;
  readonly entities: readonly Entity[];
}

/** What a server answers, as JSON. */
export interface Answer extends Analysis {
  /** Which server answered. */
  readonly server: string;
}

const nlp = winkNLP(model);

export function analyse(text: string): Analysis {
  const document = nlp.readDoc(text);
  // The library's own types say less than it gives: `detail` is an object per entity, `sentiment` a number.
  const entities = document.entities().out(nlp.its.detail) as unknown as Entity[];
  return {
    sentiment: document.out(nlp.its.sentiment) as unknown as number,
    entities: entities.map(({ value, type }) => ({ value, type })),
  };
}
