/**
 * Where the labels of boxes go: none covers another, none leaves the stage, and they hide as little of what was found as
 * can be. All lengths are pixels of the stage; nothing here touches the page.
 */

/** @typedef {{x: number, y: number, width: number, height: number}} Rectangle */
/** @typedef {{width: number, height: number}} Size */
/** @typedef {Rectangle & {whole: boolean}} Place Of a label: a whole one, or the short tag that stands for it. */

/** Between two labels, so that rounding never makes them touch. */
const GAP = 1;
/** How much of the stage whole labels may cover together, or they bury the picture. */
const LARGEST_SHARE = 0.2;
/** How much of a box a whole label may hide. */
const LARGEST_HIDDEN = 1 / 4;
/** How many rows or columns a tag may lie away from its box. */
const FARTHEST = 6;
/** How many boxes have labels: to place those of a thousand takes seconds. */
const MOST = 150;

/**
 * Gives each box a tag first, small boxes before large ones, which have more room; then lets tags grow to whole labels as
 * long as there is room.
 * @param {Rectangle[]} boxes They may reach beyond the stage, as those of a zoomed picture do.
 * @param {Size[]} labels Sizes of the whole labels.
 * @param {Size[]} tags Sizes of the tags.
 * @param {Size} stage
 * @returns {(Place | null)[]} One for each box; null where it is out of sight, or nothing fits any more.
 */
export function placeLabels(boxes, labels, tags, stage) {
    const seen = boxes.map((box) => within(box, stage));
    /** @type {(Place | null)[]} */
    const places = boxes.map(() => null);
    const order = boxes.map((_, index) => index).filter((index) => seen[index].width > 0 && seen[index].height > 0);
    order.sort((a, b) => area(seen[a]) - area(seen[b]) || a - b).splice(MOST);
    for (const index of order) places[index] = best(index, tags[index], false);
    let free = LARGEST_SHARE * area(stage);
    for (const index of order) {
        const place = area(labels[index]) <= free && best(index, labels[index], true);
        if (!place) continue;
        places[index] = place;
        free -= area(place);
    }
    return places;

    /**
     * The free spot where a label hides least, the first of equals.
     * @param {number} index
     * @param {Size} size
     * @param {boolean} whole
     * @returns {Place | null}
     */
    function best(index, size, whole) {
        if (size.width > stage.width || size.height > stage.height) return null;
        const others = places.filter((place, other) => place && other !== index);
        let least = Infinity;
        let found = null;
        for (const spot of spots(seen[index], size, stage, whole ? 0 : FARTHEST)) {
            if (others.some((other) => other && overlap(spot, other, GAP) > 0)) continue;
            const hidden = order.map((other) => overlap(spot, seen[other]) / area(seen[other]));
            if (whole && hidden.some((share) => share > LARGEST_HIDDEN)) continue;
            const cost = hidden.reduce((sum, share) => sum + share, 0);
            if (cost < least - 1e-6) [least, found] = [cost, spot];
        }
        return found && { ...found, whole };
    }
}

/**
 * Spots for a label about its box, the likeliest first: above, below, inside, beside, and farther away.
 * @param {Rectangle} box
 * @param {Size} size
 * @param {Size} stage
 * @param {number} farthest
 * @returns {Rectangle[]}
 */
function spots({ x, y, width, height }, size, stage, farthest) {
    const [right, bottom] = [x + width, y + height];
    const [above, leftwards] = [y - size.height, x - size.width];
    const corners = [x, right - size.width].flatMap((left) => [above, bottom, y, bottom - size.height].map((top) => [left, top]));
    const sides = [right, leftwards].flatMap((left) => [y, bottom - size.height].map((top) => [left, top]));
    const far = [];
    for (let step = 1; step <= farthest; step++) {
        const [across, down] = [step * (size.width + GAP), step * (size.height + GAP)];
        for (const left of [x - across, x, x + across]) far.push([left, above - down], [left, bottom + down]);
        for (const top of [y, y + down, y - down]) far.push([right + across, top], [leftwards - across, top]);
        far.push([x + across, above], [x + across, bottom], [x, y + down]);
    }
    return [...corners, ...sides, ...far].map(([left, top]) => ({
        x: clamp(left, 0, stage.width - size.width),
        y: clamp(top, 0, stage.height - size.height),
        ...size,
    }));
}

/**
 * The part of a box that is on the stage.
 * @param {Rectangle} box
 * @param {Size} stage
 * @returns {Rectangle}
 */
function within(box, stage) {
    const x = clamp(box.x, 0, stage.width);
    const y = clamp(box.y, 0, stage.height);
    const right = clamp(box.x + box.width, 0, stage.width);
    return { x, y, width: right - x, height: clamp(box.y + box.height, 0, stage.height) - y };
}

/**
 * How many square pixels two rectangles share, once one has grown by `gap` on every side.
 * @param {Rectangle} one
 * @param {Rectangle} other
 * @param {number} [gap]
 * @returns {number}
 */
function overlap(one, other, gap = 0) {
    const width = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x) + gap;
    const height = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y) + gap;
    return width > 0 && height > 0 ? width * height : 0;
}

/**
 * @param {Size} size
 * @returns {number}
 */
function area({ width, height }) {
    return width * height;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function clamp(value, low, high) {
    return Math.min(Math.max(value, low), high);
}
