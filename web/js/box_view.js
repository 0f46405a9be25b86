/**
 * A picture with its boxes, and the list of them. A box and its row are two views of one thing: pointing at one lights
 * both, a click on the row keeps them lit, a click on the picture opens it large. Everything can be reached with the
 * keyboard.
 */

import { copyButton, make, ownKeys, signButton, staleNote } from "./dom.js";
import { openLightbox } from "./lightbox.js";
import { describe, numberTag, Stage } from "./stage.js";
import { word } from "./words.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Picture} Picture */

/** How many boxes of a picture are drawn and listed; a browser takes minutes for a hundred thousand. */
const MOST = 1000;

export class BoxView {
    /**
     * @param {(picture: Picture) => string} pictureUrl Where a picture is served.
     * @param {HTMLElement[]} more Buttons for the bar, in place of the one that enlarges: the view is the large one.
     */
    constructor(pictureUrl, ...more) {
        this.pictureUrl = pictureUrl;
        /** @type {Picture[]} */
        this.images = [];
        /** @type {Box[][]} */
        this.boxes = [];
        this.page = 0;
        /** @type {number | null} The box that a click keeps lit. */
        this.kept = null;

        this.large = more.length > 0;
        this.stage = new Stage(
            (index) => this.light(index ?? this.kept),
            (index) => (this.large ? this.keep(index) : this.enlarge(index)),
        );
        this.rows = make("div", "iaa-rows iaa-scroll");
        this.previous = signButton("‹", word("previous"), () => this.turnBy(-1));
        this.next = signButton("›", word("next"), () => this.turnBy(1));
        this.position = make("span", "iaa-position");
        this.pages = make("span", "iaa-pages", {}, this.previous, this.position, this.next);
        this.count = make("span", "iaa-count");
        const copy = copyButton(word("copyJson"), () => JSON.stringify(this.boxes.map((page) => page.map(withoutColor)), null, 1));
        this.enlarger = signButton("⤢", word("enlarge"), () => this.enlarge(this.kept));
        const buttons = this.large ? more : [this.enlarger];
        const bar = make("div", "iaa-bar", {}, this.pages, this.count, staleNote(), copy, ...buttons);
        this.element = make("div", "iaa-view iaa-boxes", {}, this.stage.element, this.rows, bar);
        this.element.tabIndex = -1;
        ownKeys(this.element, ({ key }) => this.useKey(key));
    }

    /** @param {import("./types.js").BoxesResult} result */
    show({ images, boxes }) {
        this.images = images;
        this.boxes = boxes;
        this.turnTo(Math.min(this.page, images.length - 1));
    }

    /** @param {number} page */
    turnTo(page) {
        this.page = Math.max(0, Math.min(page, this.images.length - 1));
        this.kept = null;
        const picture = this.images[this.page];
        const found = this.boxes[this.page] ?? [];
        const boxes = found.slice(0, MOST);
        if (!picture) return;
        this.rows.replaceChildren(...boxes.map((box, index) => this.row(box, index)));
        const leftOut = this.boxes.length - this.images.length;
        const rest = leftOut > 0 ? `, ${word("leftOut", leftOut)}` : "";
        this.position.textContent = `${this.page + 1} / ${this.images.length}${rest}`;
        this.count.textContent = found.length === 0 ? word("nothing") : found.length === 1 ? word("oneBox") : word("boxes", found.length);
        this.previous.disabled = this.page === 0;
        this.next.disabled = this.page >= this.images.length - 1;
        this.pages.hidden = this.images.length === 1;
        this.stage.show(this.pictureUrl(picture), picture, boxes);
        this.light(null);
    }

    /**
     * A box in words: a button that lights it.
     * @param {Box} box
     * @param {number} index
     * @returns {HTMLElement}
     */
    row(box, index) {
        const { x, y, width, height } = box;
        const size = make("span", "iaa-size", { textContent: `${x}, ${y} · ${width}×${height}` });
        const score = make("span", "iaa-score", { textContent: box.score === undefined ? "" : box.score.toFixed(2) });
        const label = make("span", "iaa-label", { textContent: box.label });
        const row = make("button", "iaa-row", { type: "button", title: describe(box) }, numberTag(box, index), label, score, size);
        row.dataset.index = `${index}`;
        row.tabIndex = index === 0 ? 0 : -1; // one stop for Tab; from there the arrows lead on
        row.style.setProperty("--iaa-color", box.color);
        row.setAttribute("aria-label", word("place", describe(box), x, y, width, height));
        row.addEventListener("pointerenter", () => this.light(index));
        row.addEventListener("pointerleave", () => this.light(this.kept));
        row.addEventListener("focus", () => this.light(index));
        row.addEventListener("blur", () => this.light(this.kept));
        row.addEventListener("click", () => this.keep(index));
        return row;
    }

    /**
     * Keeps a box lit, or lets it go where it was kept before.
     * @param {number | null} index
     */
    keep(index) {
        this.kept = this.kept === index ? null : index;
        this.light(this.kept);
    }

    /**
     * Lights one box with its row and dims the others; none for null.
     * @param {number | null} index
     */
    light(index) {
        this.element.classList.toggle("iaa-lit", index !== null);
        for (const part of this.element.querySelectorAll("[data-index]")) {
            const lit = part instanceof HTMLElement && part.dataset.index === `${index}`;
            part.classList.toggle("iaa-on", lit);
            if (!part.classList.contains("iaa-row")) continue;
            part.setAttribute("aria-pressed", `${lit && index === this.kept}`);
            if (lit) scrollIntoList(part);
        }
        this.stage.light(index);
    }

    /**
     * Opens the page large; the page that it is closed at is then shown here.
     * @param {number | null} index The box to keep lit there.
     */
    enlarge(index) {
        this.enlarger.focus({ preventScroll: true }); // where the focus goes back to
        openLightbox(this, index);
    }

    /**
     * Turns pages for somebody whose keys must still be heard when the row or button that had the focus is gone.
     * @param {number} step
     */
    turnBy(step) {
        this.turnTo(this.page + step);
        this.element.focus({ preventScroll: true });
    }

    /**
     * Moves the focus from row to row; to the first or last one from elsewhere.
     * @param {number} step
     */
    focusRow(step) {
        const rows = /** @type {HTMLElement[]} */ ([...this.rows.children]);
        const from = rows.findIndex((row) => row === document.activeElement);
        const row = rows[from < 0 ? (step > 0 ? 0 : rows.length - 1) : from + step];
        if (!row) return;
        rows.forEach((other) => (other.tabIndex = other === row ? 0 : -1));
        row.focus({ preventScroll: true });
    }

    /**
     * @param {string} key
     * @returns {boolean} Whether it means something here.
     */
    useKey(key) {
        const [across, down] = [{ ArrowLeft: -1, ArrowRight: 1 }[key], { ArrowUp: -1, ArrowDown: 1 }[key]];
        if (across && this.images.length > 1) this.turnBy(across);
        else if (down) this.focusRow(down);
        else if (key === "Escape" && !this.large) this.light((this.kept = null));
        else return false;
        return true;
    }
}

/**
 * What the node sent, without what is only for the eye.
 * @param {Box} box
 * @returns {Omit<Box, "color">}
 */
function withoutColor({ color: _, ...box }) {
    return box;
}

/**
 * Scrolls a row into view within its list; `scrollIntoView` would scroll ComfyUI's whole page.
 * @param {Element} row
 */
function scrollIntoList(row) {
    const list = row.parentElement;
    if (!(row instanceof HTMLElement) || !list) return;
    const above = row.offsetTop - list.offsetTop;
    if (above < list.scrollTop) list.scrollTop = above;
    else if (above + row.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = above + row.offsetHeight - list.clientHeight;
    }
}
