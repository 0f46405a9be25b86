/** Captions and answers on their node. */

import { copyButton, make, ownKeys, staleNote } from "./dom.js";
import { word } from "./words.js";

/** One text, or a numbered list of them. */
export class TextView {
    constructor() {
        /** @type {string[]} */
        this.texts = [];
        this.list = make("div", "iaa-texts iaa-scroll", { tabIndex: 0 }); // or Nodes 2.0 gives the keys to the node
        const copy = copyButton(word("copy"), () => this.texts.join("\n\n"));
        this.element = make("div", "iaa-view", {}, this.list, make("div", "iaa-bar", {}, staleNote(), copy));
        ownKeys(this.element);
    }

    /** @param {import("./types.js").TextsResult} result */
    show({ texts }) {
        this.texts = texts;
        const numbered = texts.length > 1;
        this.list.replaceChildren(
            ...texts.map((text, index) => {
                const line = make("p", "iaa-text", {}, text || word("silent"));
                if (numbered) line.prepend(make("span", "iaa-number", { textContent: `${index + 1}` }));
                return line;
            }),
        );
    }
}
