/** The little that our scripts use of ComfyUI's frontend, which serves these modules but no types of them. */

declare module "*/scripts/app.js" {
    export const app: any;
}

declare module "*/scripts/api.js" {
    export const api: EventTarget & { apiURL(route: string): string; queuePrompt: (...prompt: any) => Promise<any> };
}
