/** One element for whatever a node shows: Nodes 2.0 goes on showing the element that a widget had first. */

import { BoxView } from "./box_view.js";
import { make } from "./dom.js";
import { TextView } from "./text_view.js";
import { word } from "./words.js";

/** @typedef {import("./types.js").Result} Result */

export class ResultView {
    /** @param {(picture: import("./types.js").Picture) => string} pictureUrl Where a picture is served. */
    constructor(pictureUrl) {
        this.makers = { boxes: () => new BoxView(pictureUrl), texts: () => new TextView() };
        /** @type {any} What shows the result: a `BoxView` or a `TextView`. */
        this.view = null;
        /** @type {Result["kind"] | null} */
        this.kind = null;
        this.element = make("div", "iaa-result");
    }

    /** @param {Result} result */
    show(result) {
        if (this.kind !== result.kind) {
            this.kind = result.kind;
            this.view = this.makers[result.kind]();
            this.element.replaceChildren(this.view.element);
        }
        this.view.show(result);
        this.view.element.dataset.remark = result.demo ? word("demo") : "";
    }
}
