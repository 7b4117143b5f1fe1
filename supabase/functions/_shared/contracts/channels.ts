/** Where people get notifications beside the dashboard: the kind, and how a form asks for its target. */
export const channels = {
  email: { label: "e-mail", target: "Address", input: "email" },
  slack: { label: "Slack", target: "URL of the incoming webhook", input: "url" },
} as const;
export type ChannelKind = keyof typeof channels;

const isChannelKind = (name: string): name is ChannelKind => name in channels;
export const channelKinds: ChannelKind[] = Object.keys(channels).filter(isChannelKind);
/** What a delivery goes through: a webhook endpoint, or one of the channels. */
export const deliveryChannels = ["webhook", ...channelKinds] as const;
