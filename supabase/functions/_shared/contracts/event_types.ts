/**
 * The event types of webhooks and notifications; `tunebase_internal.event_types()` has the same list. `notifies`: also sent
 * as a notification, in the dashboard and through channels. `sample`: the job's status in a test event.
 */
const declared = {
  "fine_tuning.job.succeeded": { notifies: true, sample: "succeeded" },
  "fine_tuning.job.failed": { notifies: true, sample: "failed" },
  "fine_tuning.job.cancelled": { notifies: true, sample: "cancelled" },
  "fine_tuning.job.created": { notifies: false, sample: "queued" },
  "fine_tuning.job.started": { notifies: false, sample: "running" },
  "fine_tuning.job.progress": { notifies: false, sample: "running" },
  "fine_tuning.job.checkpoint": { notifies: false, sample: "running" },
  "fine_tuning.job.paused": { notifies: true, sample: "paused" },
  "fine_tuning.job.budget_warning": { notifies: true, sample: "running" },
  "webhook_endpoint.disabled": { notifies: true, sample: null },
} as const;
export type EventType = keyof typeof declared;

const isEventType = (name: string): name is EventType => name in declared;
/** OpenAI's three come first. */
export const eventTypes: EventType[] = Object.keys(declared).filter(isEventType);
/** Event types that are sent as notifications. */
export const notificationEventTypes: EventType[] = eventTypes.filter((type) => declared[type].notifies);
/** The job's status in a test event of this type; null if the event has no job. */
export const sampleStatus = (type: EventType): string | null => declared[type].sample;
