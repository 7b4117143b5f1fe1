/** The kinds of notification channels, with the labels and input type of the dashboard's form. */
export const channels = {
  email: { label: "Email", target: "Address", input: "email" },
  slack: { label: "Slack", target: "Incoming webhook URL", input: "url" },
} as const;
export type ChannelKind = keyof typeof channels;

const isChannelKind = (name: string): name is ChannelKind => name in channels;
export const channelKinds: ChannelKind[] = Object.keys(channels).filter(isChannelKind);
/** How a delivery is sent: to a webhook endpoint or through a notification channel. */
export const deliveryChannels = ["webhook", ...channelKinds] as const;
