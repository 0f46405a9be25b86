/** The words inside our views, in the language that ComfyUI shows; English where we have no other. */

import { language } from "./locales.js";

const ENGLISH = {
    copy: "Copy",
    copyJson: "Copy JSON",
    copied: "Copied",
    copyFailed: "Copying failed",
    previous: "Previous image",
    next: "Next image",
    enlarge: "Enlarge",
    close: "Close",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    whole: "Whole picture",
    leftOut: "{} more not shown",
    nothing: "nothing found",
    oneBox: "1 box",
    boxes: "{} boxes",
    place: "{}, at {}, {}, {} by {} pixels",
    silent: "(no words)",
    stale: "Made before the last change: run again",
    demo: "The demo model answered: it knows only coloured shapes. Choose the published model in IAA Loader for photographs.",
};

/** @type {typeof ENGLISH} */
const CHINESE = {
    copy: "复制",
    copyJson: "复制 JSON",
    copied: "已复制",
    copyFailed: "复制失败",
    previous: "上一张图像",
    next: "下一张图像",
    enlarge: "放大",
    close: "关闭",
    zoomIn: "放大",
    zoomOut: "缩小",
    whole: "完整图像",
    leftOut: "另有 {} 张未显示",
    nothing: "未找到任何内容",
    oneBox: "1 个框",
    boxes: "{} 个框",
    place: "{}，位置 {}, {}，大小 {} × {} 像素",
    silent: "（无文字）",
    stale: "此结果早于最近的更改：请重新运行",
    demo: "这是演示模型的回答：它只认识彩色图形。处理照片请在“IAA 加载器”中选择已发布的模型。",
};

/**
 * A word or sentence of ours.
 * @param {keyof typeof ENGLISH} key
 * @param {(string | number)[]} values What stands for each `{}`.
 * @returns {string}
 */
export function word(key, ...values) {
    const words = language() === "zh" ? CHINESE : ENGLISH;
    return values.reduce((/** @type {string} */ text, value) => text.replace("{}", () => `${value}`), words[key]);
}
