// Compare: from embeddings to scores and probabilities, as fslib.metrics and fslib.methods do.
//
// A support set is a list of classes, a class a list of embeddings, an embedding a list of numbers.
// Each method gives one score a class, higher is closer.

const sum = (values) => values.reduce((a, b) => a + b, 0);
export const dot = (a, b) => a.reduce((total, value, i) => total + value * b[i], 0);
const difference = (a, b) => a.map((value, i) => value - b[i]);

export const squaredEuclidean = (a, b) => difference(a, b).reduce((total, d) => total + d * d, 0);
export const euclidean = (a, b) => Math.sqrt(squaredEuclidean(a, b));
export const cosineSimilarity = (a, b) => dot(a, b) / (Math.sqrt(dot(a, a) * dot(b, b)) || 1);
export const cosineDistance = (a, b) => 1 - cosineSimilarity(a, b);

/** Mahalanobis distance in the plane, under the symmetric matrix [[xx, xy], [xy, yy]]. */
export function mahalanobis(a, b, [xx, xy, yy]) {
  const [x, y] = difference(a, b);
  return Math.sqrt(xx * x * x + 2 * xy * x * y + yy * y * y);
}

/** The inverse of the covariance that classes in the plane have around their means, with a little added. */
export function inverseCovariance(support, ridge = 0.1) {
  let xx = 0, xy = 0, yy = 0, points = 0;
  for (const examples of support) {
    const centre = mean(examples);
    for (const example of examples) {
      const [x, y] = difference(example, centre);
      [xx, xy, yy, points] = [xx + x * x, xy + x * y, yy + y * y, points + 1];
    }
  }
  const degrees = Math.max(1, points - support.length);
  [xx, xy, yy] = [xx / degrees + ridge, xy / degrees, yy / degrees + ridge];
  const determinant = xx * yy - xy * xy;
  return [yy / determinant, -xy / determinant, xx / determinant];
}

/** The mean of some embeddings: the prototype of a class (Snell et al., 2017, equation 1). */
export const mean = (vectors) => [...vectors[0]].map((_, i) => sum(vectors.map((v) => v[i])) / vectors.length);

/** Probabilities from scores. */
export function softmax(scores) {
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

/** Prototypical Networks: minus the distance to the mean of each class. */
export function prototypical(support, query, metric = squaredEuclidean) {
  return support.map((examples) => -metric(query, mean(examples)));
}

/** Nearest neighbour: minus the distance to the nearest example of each class. */
export function nearest(support, query, metric = squaredEuclidean) {
  return support.map((examples) => -Math.min(...examples.map((example) => metric(query, example))));
}

/** Matching Networks: the attention that each class gets, a softmax over the cosines to single examples. */
export function matching(support, query, scale) {
  const attention = softmax(support.flat().map((example) => scale * cosineSimilarity(query, example)));
  let at = 0;
  return support.map((examples) => sum(attention.slice(at, (at += examples.length))));
}

/** Over how many a whole is spread, as if all had equal parts of it: 1 / Σ share². */
export const voices = (shares) => 1 / sum(shares.map((share) => share * share));
