/**
 * The events that leave Tunebase, by webhook and as notifications; `tunebase_internal.event_types()` lists the same.
 * `notifies`: people get it too, in the dashboard and through their channels. `sample`: the job's status in a test event.
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
/** OpenAI's three first, then ours. */
export const eventTypes: EventType[] = Object.keys(declared).filter(isEventType);
/** Those that people get, in the dashboard and through their channels. */
export const notificationEventTypes: EventType[] = eventTypes.filter((type) => declared[type].notifies);
/** The status of the job in a test event of this type; null where the event is not about a job. */
export const sampleStatus = (type: EventType): string | null => declared[type].sample;
