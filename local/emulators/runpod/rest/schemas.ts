/** Request bodies and stored resources of RunPod's REST API v2. Unknown fields are rejected, as by RunPod. */
import * as z from "zod";

const Name = z.string().min(1);
const CudaVersion = z.string().regex(/^\d+\.\d+$/);

/** Container settings of templates and endpoints. */
const container = {
  image: z.string().optional(),
  args: z.string().optional(),
  disk: z.int().min(1).optional(),
  env: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string()).optional(),
  registry: z.string().nullable().optional(),
};

const VolumeType = z.enum(["STANDARD", "HIGH_PERFORMANCE"]);
const VolumeSize = z.int().min(10).max(4096);
export const CreateVolume = z.strictObject({
  name: Name,
  size: VolumeSize,
  dataCenter: Name,
  type: VolumeType.optional(),
});
export const UpdateVolume = z.strictObject({ name: Name.optional(), size: VolumeSize.optional() })
  .refine((body) => Object.keys(body).length > 0, "minProperties: got 0, want 1");

export const CreateRegistry = z.strictObject({
  name: Name,
  username: z.string().min(1),
  password: z.string().min(1),
});

const templateFields = {
  ...container,
  allowedCudaVersions: z.array(CudaVersion).optional(),
  category: z.enum(["CPU", "NVIDIA", "AMD"]).optional(),
  mounts: z.strictObject({
    persistent: z.strictObject({ size: z.int().min(10), path: z.string() }).optional(),
  }).optional(),
  public: z.boolean().optional(),
  serverless: z.boolean().optional(),
  startJupyter: z.boolean().optional(),
  startSsh: z.boolean().optional(),
};
export const CreateTemplate = z.strictObject({ ...templateFields, name: Name, image: z.string() });
export const UpdateTemplate = z.strictObject({ ...templateFields, name: Name.optional() });

const gpuFields = {
  pools: z.array(z.string()).min(1),
  excludedTypes: z.array(z.string().regex(/^\s*[^-\s]/)).optional(),
  count: z.int().min(1).optional(),
  allowedCudaVersions: z.array(CudaVersion).optional(),
};
const CreateGpu = z.strictObject({ ...gpuFields, minCudaVersion: CudaVersion.optional() });
const UpdateGpu = z.strictObject({
  ...gpuFields,
  pools: gpuFields.pools.optional(),
  // An empty string removes the minimum.
  minCudaVersion: z.string().regex(/^$|^\d+\.\d+$/).optional(),
}).refine(
  ({ pools, excludedTypes }) => excludedTypes === undefined || pools !== undefined,
  "properties 'pools' required, if 'excludedTypes' exists",
);
const Cpu = z.strictObject({ id: z.string().min(1), vcpuCount: z.int().min(2) });

const Workers = z.strictObject({
  min: z.int().min(0).optional(),
  max: z.int().min(0).optional(),
  idleTimeout: z.int().min(1).max(3600).optional(),
});
const RequestCount = z.strictObject({ type: z.literal("REQUEST_COUNT"), requestCount: z.int().min(1) });
const Scaling = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("QUEUE_DELAY"), queueDelay: z.number().min(0.5) }),
  RequestCount,
]);
const FlashBoot = z.enum(["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]);

const endpointFields = {
  ...container,
  cpu: z.array(Cpu).min(1).optional(),
  dataCenterIds: z.array(z.string()).optional(),
  flashboot: FlashBoot.optional(),
  networkVolumes: z.array(z.string()).optional(),
  timeout: z.int().optional(),
  workers: Workers.optional(),
};
export const CreateEndpoint = z.strictObject({
  ...endpointFields,
  name: Name,
  type: z.enum(["QUEUE", "LOAD_BALANCER"]),
  scaling: Scaling,
  gpu: CreateGpu.optional(),
  templateId: z.string().min(1).optional(),
}).superRefine(({ type, scaling, image, templateId }, context) => {
  if (image === undefined && templateId === undefined) {
    context.addIssue({ code: "custom", message: "missing properties: 'image'" });
  }
  if (type === "LOAD_BALANCER" && scaling.type !== "REQUEST_COUNT") {
    context.addIssue({ code: "custom", path: ["scaling", "type"], message: "value must be 'REQUEST_COUNT'" });
  }
});
export const UpdateEndpoint = z.strictObject({
  ...endpointFields,
  name: Name.optional(),
  scaling: Scaling.optional(),
  gpu: UpdateGpu.optional(),
  templateId: z.string().optional(),
});

// --- The account's resources.

export const Volume = z.object({
  id: z.string(),
  name: z.string(),
  size: z.number(),
  dataCenter: z.string(),
  type: VolumeType,
});
/** Including the fields that responses never contain. */
export const StoredRegistry = z.object({
  id: z.string(),
  name: z.string(),
  username: z.string(),
  password: z.string(),
});
const storedContainer = {
  image: z.string(),
  args: z.string(),
  disk: z.number(),
  env: z.record(z.string(), z.string()),
  ports: z.array(z.string()),
  registry: z.string().nullable(),
};
export const Template = z.object({
  id: z.string(),
  name: z.string(),
  ...storedContainer,
  mounts: z.record(z.string(), z.unknown()),
  serverless: z.boolean(),
  public: z.boolean(),
  category: z.enum(["CPU", "NVIDIA", "AMD"]),
  startSsh: z.boolean(),
  startJupyter: z.boolean(),
  allowedCudaVersions: z.array(z.string()),
});
export const Endpoint = z.object({
  id: z.string(),
  name: z.string(),
  type: z.enum(["QUEUE", "LOAD_BALANCER"]),
  ...storedContainer,
  gpu: z.object({
    pools: z.array(z.string()),
    excludedTypes: z.array(z.string()).optional(),
    count: z.number(),
    allowedCudaVersions: z.array(z.string()),
    minCudaVersion: z.string().nullable(),
  }).nullable(),
  cpu: z.array(z.object({ id: z.string(), vcpuCount: z.number(), memory: z.number() })).optional(),
  workers: z.object({ min: z.number(), max: z.number(), idleTimeout: z.number().optional() }),
  scaling: Scaling,
  dataCenterIds: z.array(z.string()),
  networkVolumes: z.array(z.string()),
  timeout: z.number(),
  flashboot: FlashBoot,
  createdAt: z.string(),
});
export type Endpoint = z.infer<typeof Endpoint>;

const Release = z.object({
  id: z.string(),
  version: z.number(),
  createdAt: z.string(),
  diff: z.array(z.object({ field: z.string(), old: z.unknown(), new: z.unknown() })),
});

export const Account = z.object({
  volumes: z.array(Volume),
  registries: z.array(StoredRegistry),
  templates: z.array(Template),
  endpoints: z.array(Endpoint),
  /** By endpoint id, newest first. */
  releases: z.record(z.string(), z.array(Release)),
  /** The times when workers ran, and the price per hour. */
  sessions: z.array(z.object({
    endpoint: z.string(),
    startedAt: z.number(),
    endedAt: z.number(),
    usdPerHour: z.number(),
  })),
});
export type Account = z.infer<typeof Account>;
export type Session = Account["sessions"][number];
