/**
 * A value model: how likely p1 wins from a position, from the features of both sides (position.js).
 *
 *   logit = weights · (x1 - x2)  +  hidden units' answers to (x1, x2)  -  their answers to (x2, x1)
 *
 * Features are divided by `scales` first. Exchanging the sides changes the sign and nothing else, so that what p2 sees
 * is 1 - what p1 sees. Without hidden units it is a logistic regression.
 */
'use strict';

const {NAMES} = require('./position.js');

class Value {
	/** Throws where the model knows other features than this host works out. */
	constructor(model) {
		if (JSON.stringify(model.features) !== JSON.stringify(NAMES)) {
			throw new Error('the value model was fitted on other features than this version works out');
		}
		const {weights, scales, hidden} = model;
		this.weights = Float64Array.from(weights, (weight, at) => weight / scales[at]);
		this.units = hidden.map(({own, other, bias, out}) => ({
			own: Float64Array.from(own, (weight, at) => weight / scales[at]),
			other: Float64Array.from(other, (weight, at) => weight / scales[at]),
			bias,
			out,
		}));
	}

	/** From 0 to 1, of the features of both sides. */
	of([x1, x2]) {
		let logit = 0;
		for (let at = 0; at < x1.length; at++) logit += this.weights[at] * (x1[at] - x2[at]);
		for (const {own, other, bias, out} of this.units) {
			let straight = bias, exchanged = bias;
			for (let at = 0; at < x1.length; at++) {
				straight += own[at] * x1[at] + other[at] * x2[at];
				exchanged += own[at] * x2[at] + other[at] * x1[at];
			}
			logit += out * (Math.tanh(straight) - Math.tanh(exchanged));
		}
		return 1 / (1 + Math.exp(-logit));
	}
}

module.exports = {Value};
