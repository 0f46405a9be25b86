/** Small helpers to build elements. */

import { word } from "./words.js";

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className, properties = {}, ...children) {
    const element = document.createElement(tag);
    element.className = className;
    Object.assign(element, properties);
    element.append(...children);
    return element;
}

/**
 * A button with a sign on it, and a name for those who point at it or hear it.
 * @param {string} sign
 * @param {string} name
 * @param {() => void} action
 * @returns {HTMLButtonElement}
 */
export function signButton(sign, name, action) {
    const button = make("button", "iaa-button", { type: "button", textContent: sign, title: name });
    button.setAttribute("aria-label", name);
    button.addEventListener("click", action);
    return button;
}

/**
 * A button that copies a text and says so for a moment.
 * @param {string} name
 * @param {() => string} text
 * @returns {HTMLButtonElement}
 */
export function copyButton(name, text) {
    const button = make("button", "iaa-button", { type: "button", textContent: name });
    button.addEventListener("click", async () => {
        const done = await copy(text());
        button.textContent = word(done ? "copied" : "copyFailed");
        setTimeout(() => (button.textContent = name), 1200);
    });
    return button;
}

/**
 * Says of a result that it was made before its node's inputs were changed; seen while the view has the class `iaa-stale`.
 * @returns {HTMLElement}
 */
export function staleNote() {
    return make("span", "iaa-note", { textContent: word("stale") });
}

/**
 * Keeps keys that are pressed inside an element from ComfyUI, which deletes the selected node at Delete and has uses for
 * single letters; what goes with Ctrl, Alt or Cmd, such as undoing, is still ComfyUI's.
 * @param {HTMLElement} element
 * @param {(event: KeyboardEvent) => boolean} [use] Whether the key has done something here.
 */
export function ownKeys(element, use = () => false) {
    element.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        event.stopPropagation();
        if (use(event)) event.preventDefault();
    });
}

/**
 * Copies a text; by the old way where the page is not served securely, as on a LAN address.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        const area = make("textarea", "", { value: text });
        (document.querySelector("dialog.iaa-lightbox") ?? document.body).append(area); // beside an open dialog nothing has the focus
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}
