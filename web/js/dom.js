/** Small helpers to build elements. */

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
 * A button that copies a text and says so for a moment.
 * @param {string} name
 * @param {() => string} text
 * @returns {HTMLButtonElement}
 */
export function copyButton(name, text) {
    const button = make("button", "iaa-button", { type: "button", textContent: name });
    button.addEventListener("click", async () => {
        const done = await copy(text());
        button.textContent = done ? "Copied" : "Copying failed";
        setTimeout(() => (button.textContent = name), 1200);
    });
    return button;
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
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}
