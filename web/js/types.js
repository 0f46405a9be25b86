/**
 * The shapes of what the nodes send; for the type checker and the reader alone.
 *
 * @typedef {object} Picture A picture as ComfyUI's `/view` knows it, and its size in pixels.
 * @property {string} filename
 * @property {string} [subfolder]
 * @property {string} [type]
 * @property {number} width
 * @property {number} height
 *
 * @typedef {object} Box A box in pixels of its picture, top left corner first.
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {string} label
 * @property {number} [score] 0 to 1.
 * @property {string} color As CSS writes it.
 *
 * @typedef {object} BoxesResult
 * @property {"boxes"} kind
 * @property {Picture[]} images
 * @property {Box[][]} boxes One list per picture.
 * @property {boolean} [demo] Whether the demo model answered.
 * @property {Record<string, unknown>} [typed] What was typed into the node that it was made of.
 *
 * @typedef {object} TextsResult
 * @property {"texts"} kind
 * @property {string[]} texts
 * @property {boolean} [demo]
 * @property {Record<string, unknown>} [typed]
 *
 * @typedef {BoxesResult | TextsResult} Result
 *
 * @typedef {object} Output What a node sends with `ui=`.
 * @property {Picture[][]} [iaa_images] Per picture a list of one.
 * @property {Box[][]} [iaa_boxes]
 * @property {string[]} [iaa_texts]
 * @property {string[]} [iaa_note] A remark, which today says that the demo model answered.
 */

export {};
