/** Where people get notifications outside the dashboard: the kind, and how a form asks for its target. */
export const channels = {
  email: { label: "Email", target: "Address", input: "email" },
  slack: { label: "Slack", target: "URL of the incoming webhook", input: "url" },
} as const;
export type ChannelKind = keyof typeof channels;

const isChannelKind = (name: string): name is ChannelKind => name in channels;
export const channelKinds: ChannelKind[] = Object.keys(channels).filter(isChannelKind);
/** How a delivery is sent: to a webhook endpoint, or through one of the channels. */
export const deliveryChannels = ["webhook", ...channelKinds] as const;
