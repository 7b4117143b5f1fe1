export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];

export type Database = {
  "tunebase": {
    Tables: {
      "adapters": {
        Row: {
          "attempt_id": string;
          "base_model": string;
          "bytes": number;
          "created_at": string;
          "deleted_at": string | null;
          "id": string;
          "job_id": string;
          "manifest": NonNullable<Json>;
          "name": string;
          "prefix": string;
          "project_id": string;
        };
        ComputedFields: never;
        Insert: {
          "attempt_id": string;
          "base_model": string;
          "bytes": number;
          "created_at"?: string;
          "deleted_at"?: string | null;
          "id"?: string;
          "job_id": string;
          "manifest": NonNullable<Json>;
          "name": string;
          "prefix": string;
          "project_id": string;
        };
        Update: {
          "attempt_id"?: string;
          "base_model"?: string;
          "bytes"?: number;
          "created_at"?: string;
          "deleted_at"?: string | null;
          "id"?: string;
          "job_id"?: string;
          "manifest"?: NonNullable<Json>;
          "name"?: string;
          "prefix"?: string;
          "project_id"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "adapters_attempt_id_fkey";
            columns: ["attempt_id"];
            isOneToOne: false;
            referencedRelation: "attempts";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "adapters_base_model_fkey";
            columns: ["base_model"];
            isOneToOne: false;
            referencedRelation: "base_models";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "adapters_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: true;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "adapters_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "api_keys": {
        Row: {
          "created_at": string;
          "created_by": string | null;
          "expires_at": string | null;
          "hint": string;
          "id": string;
          "last_used_at": string | null;
          "name": string;
          "project_id": string;
          "revoked_at": string | null;
          "scopes": (string)[];
          "version": number;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "created_by"?: string | null;
          "expires_at"?: string | null;
          "hint": string;
          "id"?: string;
          "last_used_at"?: string | null;
          "name": string;
          "project_id": string;
          "revoked_at"?: string | null;
          "scopes": (string)[];
          "version"?: number;
        };
        Update: {
          "created_at"?: string;
          "created_by"?: string | null;
          "expires_at"?: string | null;
          "hint"?: string;
          "id"?: string;
          "last_used_at"?: string | null;
          "name"?: string;
          "project_id"?: string;
          "revoked_at"?: string | null;
          "scopes"?: (string)[];
          "version"?: number;
        };
        Relationships: [
          {
            foreignKeyName: "api_keys_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "attempts": {
        Row: {
          "cancel_requested": boolean;
          "cancel_requested_at": string | null;
          "cancel_sent_at": string | null;
          "claim_deadline": string;
          "claim_request_ids": (string)[];
          "cost_usd": number;
          "created_at": string;
          "ended_at": string | null;
          "endpoint_id": string;
          "error_code": string | null;
          "error_message": string | null;
          "execution_timeout_seconds": number;
          "fence": number;
          "gpu_config": NonNullable<Json>;
          "id": string;
          "job_id": string;
          "last_report_at": string | null;
          "last_sequence": number;
          "lease_until": string | null;
          "missed_heartbeats": number;
          "number": number;
          "outcome": string | null;
          "project_id": string;
          "reconcile_at": string | null;
          "rejected_callbacks": number;
          "runpod_job_id": string | null;
          "started_at": string | null;
          "state": string;
          "submitted_at": string | null;
          "ttl_seconds": number;
          "worker_id": string | null;
        };
        ComputedFields: never;
        Insert: {
          "cancel_requested"?: boolean;
          "cancel_requested_at"?: string | null;
          "cancel_sent_at"?: string | null;
          "claim_deadline": string;
          "claim_request_ids"?: (string)[];
          "cost_usd"?: number;
          "created_at"?: string;
          "ended_at"?: string | null;
          "endpoint_id": string;
          "error_code"?: string | null;
          "error_message"?: string | null;
          "execution_timeout_seconds": number;
          "fence"?: number;
          "gpu_config": NonNullable<Json>;
          "id"?: string;
          "job_id": string;
          "last_report_at"?: string | null;
          "last_sequence"?: number;
          "lease_until"?: string | null;
          "missed_heartbeats"?: number;
          "number": number;
          "outcome"?: string | null;
          "project_id": string;
          "reconcile_at"?: string | null;
          "rejected_callbacks"?: number;
          "runpod_job_id"?: string | null;
          "started_at"?: string | null;
          "state": string;
          "submitted_at"?: string | null;
          "ttl_seconds": number;
          "worker_id"?: string | null;
        };
        Update: {
          "cancel_requested"?: boolean;
          "cancel_requested_at"?: string | null;
          "cancel_sent_at"?: string | null;
          "claim_deadline"?: string;
          "claim_request_ids"?: (string)[];
          "cost_usd"?: number;
          "created_at"?: string;
          "ended_at"?: string | null;
          "endpoint_id"?: string;
          "error_code"?: string | null;
          "error_message"?: string | null;
          "execution_timeout_seconds"?: number;
          "fence"?: number;
          "gpu_config"?: NonNullable<Json>;
          "id"?: string;
          "job_id"?: string;
          "last_report_at"?: string | null;
          "last_sequence"?: number;
          "lease_until"?: string | null;
          "missed_heartbeats"?: number;
          "number"?: number;
          "outcome"?: string | null;
          "project_id"?: string;
          "reconcile_at"?: string | null;
          "rejected_callbacks"?: number;
          "runpod_job_id"?: string | null;
          "started_at"?: string | null;
          "state"?: string;
          "submitted_at"?: string | null;
          "ttl_seconds"?: number;
          "worker_id"?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "attempts_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "attempts_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "base_models": {
        Row: {
          "created_at": string;
          "defaults": NonNullable<Json>;
          "enabled": boolean;
          "endpoint_id": string | null;
          "execution_timeout_seconds": number;
          "gpu_config": NonNullable<Json>;
          "hidden_size": number | null;
          "id": string;
          "layers": number | null;
          "max_length": number;
          "owned_by": string;
          "parameters": number | null;
          "queue_timeout_seconds": number;
          "revision": string | null;
          "source": string;
          "tokenizer": string | null;
          "tokens_per_second": number | null;
          "vocab_size": number | null;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "defaults"?: NonNullable<Json>;
          "enabled"?: boolean;
          "endpoint_id"?: string | null;
          "execution_timeout_seconds"?: number;
          "gpu_config": NonNullable<Json>;
          "hidden_size"?: number | null;
          "id": string;
          "layers"?: number | null;
          "max_length": number;
          "owned_by": string;
          "parameters"?: number | null;
          "queue_timeout_seconds"?: number;
          "revision"?: string | null;
          "source": string;
          "tokenizer"?: string | null;
          "tokens_per_second"?: number | null;
          "vocab_size"?: number | null;
        };
        Update: {
          "created_at"?: string;
          "defaults"?: NonNullable<Json>;
          "enabled"?: boolean;
          "endpoint_id"?: string | null;
          "execution_timeout_seconds"?: number;
          "gpu_config"?: NonNullable<Json>;
          "hidden_size"?: number | null;
          "id"?: string;
          "layers"?: number | null;
          "max_length"?: number;
          "owned_by"?: string;
          "parameters"?: number | null;
          "queue_timeout_seconds"?: number;
          "revision"?: string | null;
          "source"?: string;
          "tokenizer"?: string | null;
          "tokens_per_second"?: number | null;
          "vocab_size"?: number | null;
        };
        Relationships: [];
      };
      "checkpoints": {
        Row: {
          "attempt_id": string;
          "created_at": string;
          "files": NonNullable<Json>;
          "id": string;
          "job_id": string;
          "metrics": NonNullable<Json>;
          "project_id": string;
          "step": number;
        };
        ComputedFields: never;
        Insert: {
          "attempt_id": string;
          "created_at"?: string;
          "files": NonNullable<Json>;
          "id"?: string;
          "job_id": string;
          "metrics"?: NonNullable<Json>;
          "project_id": string;
          "step": number;
        };
        Update: {
          "attempt_id"?: string;
          "created_at"?: string;
          "files"?: NonNullable<Json>;
          "id"?: string;
          "job_id"?: string;
          "metrics"?: NonNullable<Json>;
          "project_id"?: string;
          "step"?: number;
        };
        Relationships: [
          {
            foreignKeyName: "checkpoints_attempt_id_fkey";
            columns: ["attempt_id"];
            isOneToOne: false;
            referencedRelation: "attempts";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "checkpoints_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "checkpoints_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "events": {
        Row: {
          "created_at": string;
          "data": Json | null;
          "id": string;
          "job_id": string;
          "level": string;
          "message": string;
          "number": number;
          "project_id": string;
          "type": string;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "data"?: Json | null;
          "id"?: string;
          "job_id": string;
          "level": string;
          "message": string;
          "number": number;
          "project_id": string;
          "type": string;
        };
        Update: {
          "created_at"?: string;
          "data"?: Json | null;
          "id"?: string;
          "job_id"?: string;
          "level"?: string;
          "message"?: string;
          "number"?: number;
          "project_id"?: string;
          "type"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "events_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
        ];
      };
      "files": {
        Row: {
          "bytes": number;
          "created_at": string;
          "deleted_at": string | null;
          "expires_at": string | null;
          "filename": string;
          "id": string;
          "object": string;
          "project_id": string;
          "purpose": string;
          "report": NonNullable<Json>;
          "sha256": string | null;
          "status": string;
          "status_details": string | null;
        };
        ComputedFields: never;
        Insert: {
          "bytes": number;
          "created_at"?: string;
          "deleted_at"?: string | null;
          "expires_at"?: string | null;
          "filename": string;
          "id": string;
          "object": string;
          "project_id": string;
          "purpose": string;
          "report"?: NonNullable<Json>;
          "sha256"?: string | null;
          "status": string;
          "status_details"?: string | null;
        };
        Update: {
          "bytes"?: number;
          "created_at"?: string;
          "deleted_at"?: string | null;
          "expires_at"?: string | null;
          "filename"?: string;
          "id"?: string;
          "object"?: string;
          "project_id"?: string;
          "purpose"?: string;
          "report"?: NonNullable<Json>;
          "sha256"?: string | null;
          "status"?: string;
          "status_details"?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "files_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "jobs": {
        Row: {
          "auto_start": boolean;
          "base_model": string;
          "budget_warned_at": string | null;
          "cost_usd": number;
          "created_at": string;
          "created_by": string;
          "current_epoch": number;
          "current_step": number;
          "due_at": string | null;
          "error_code": string | null;
          "error_hint": string | null;
          "error_message": string | null;
          "error_param": string | null;
          "estimate": Json | null;
          "estimated_finish": string | null;
          "failed_attempts": number;
          "fine_tuned_model": string | null;
          "finished_at": string | null;
          "hyperparameters": NonNullable<Json>;
          "id": string;
          "last_event": number;
          "max_attempts": number;
          "metadata": NonNullable<Json>;
          "method": string | null;
          "parent_model": string | null;
          "pause_requested": boolean;
          "plan": NonNullable<Json>;
          "progress": number;
          "project_id": string;
          "queued_at": string | null;
          "reserved_usd": number;
          "result_file": string | null;
          "seed": number;
          "spend_cap_usd": number | null;
          "stage": string | null;
          "started_at": string | null;
          "status": string;
          "status_reason": string | null;
          "suffix": string | null;
          "tokens_per_second": number | null;
          "total_epochs": number | null;
          "total_steps": number | null;
          "trained_tokens": number;
          "training_file": string;
          "training_loss": number | null;
          "validation_file": string | null;
          "wandb": Json | null;
        };
        ComputedFields: never;
        Insert: {
          "auto_start"?: boolean;
          "base_model": string;
          "budget_warned_at"?: string | null;
          "cost_usd"?: number;
          "created_at"?: string;
          "created_by": string;
          "current_epoch"?: number;
          "current_step"?: number;
          "due_at"?: string | null;
          "error_code"?: string | null;
          "error_hint"?: string | null;
          "error_message"?: string | null;
          "error_param"?: string | null;
          "estimate"?: Json | null;
          "estimated_finish"?: string | null;
          "failed_attempts"?: number;
          "fine_tuned_model"?: string | null;
          "finished_at"?: string | null;
          "hyperparameters": NonNullable<Json>;
          "id": string;
          "last_event"?: number;
          "max_attempts"?: number;
          "metadata"?: NonNullable<Json>;
          "method"?: never;
          "parent_model"?: string | null;
          "pause_requested"?: boolean;
          "plan": NonNullable<Json>;
          "progress"?: number;
          "project_id": string;
          "queued_at"?: string | null;
          "reserved_usd"?: number;
          "result_file"?: string | null;
          "seed": number;
          "spend_cap_usd"?: number | null;
          "stage"?: string | null;
          "started_at"?: string | null;
          "status": string;
          "status_reason"?: string | null;
          "suffix"?: string | null;
          "tokens_per_second"?: number | null;
          "total_epochs"?: number | null;
          "total_steps"?: number | null;
          "trained_tokens"?: number;
          "training_file": string;
          "training_loss"?: number | null;
          "validation_file"?: string | null;
          "wandb"?: never;
        };
        Update: {
          "auto_start"?: boolean;
          "base_model"?: string;
          "budget_warned_at"?: string | null;
          "cost_usd"?: number;
          "created_at"?: string;
          "created_by"?: string;
          "current_epoch"?: number;
          "current_step"?: number;
          "due_at"?: string | null;
          "error_code"?: string | null;
          "error_hint"?: string | null;
          "error_message"?: string | null;
          "error_param"?: string | null;
          "estimate"?: Json | null;
          "estimated_finish"?: string | null;
          "failed_attempts"?: number;
          "fine_tuned_model"?: string | null;
          "finished_at"?: string | null;
          "hyperparameters"?: NonNullable<Json>;
          "id"?: string;
          "last_event"?: number;
          "max_attempts"?: number;
          "metadata"?: NonNullable<Json>;
          "method"?: never;
          "parent_model"?: string | null;
          "pause_requested"?: boolean;
          "plan"?: NonNullable<Json>;
          "progress"?: number;
          "project_id"?: string;
          "queued_at"?: string | null;
          "reserved_usd"?: number;
          "result_file"?: string | null;
          "seed"?: number;
          "spend_cap_usd"?: number | null;
          "stage"?: string | null;
          "started_at"?: string | null;
          "status"?: string;
          "status_reason"?: string | null;
          "suffix"?: string | null;
          "tokens_per_second"?: number | null;
          "total_epochs"?: number | null;
          "total_steps"?: number | null;
          "trained_tokens"?: number;
          "training_file"?: string;
          "training_loss"?: number | null;
          "validation_file"?: string | null;
          "wandb"?: never;
        };
        Relationships: [
          {
            foreignKeyName: "jobs_base_model_fkey";
            columns: ["base_model"];
            isOneToOne: false;
            referencedRelation: "base_models";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "jobs_parent_model_fkey";
            columns: ["parent_model"];
            isOneToOne: false;
            referencedRelation: "adapters";
            referencedColumns: ["name"];
          },
          {
            foreignKeyName: "jobs_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "jobs_result_file_fkey";
            columns: ["result_file"];
            isOneToOne: false;
            referencedRelation: "files";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "jobs_training_file_fkey";
            columns: ["training_file"];
            isOneToOne: false;
            referencedRelation: "files";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "jobs_validation_file_fkey";
            columns: ["validation_file"];
            isOneToOne: false;
            referencedRelation: "files";
            referencedColumns: ["id"];
          },
        ];
      };
      "metrics": {
        Row: {
          "attempt": number;
          "created_at": string;
          "epoch": number;
          "gpu_memory_gb": number | null;
          "gpu_utilization": number | null;
          "gradient_norm": number | null;
          "job_id": string;
          "learning_rate": number | null;
          "project_id": string;
          "step": number;
          "tokens_per_second": number | null;
          "training_loss": number | null;
          "validation_loss": number | null;
        };
        ComputedFields: never;
        Insert: {
          "attempt": number;
          "created_at"?: string;
          "epoch": number;
          "gpu_memory_gb"?: number | null;
          "gpu_utilization"?: number | null;
          "gradient_norm"?: number | null;
          "job_id": string;
          "learning_rate"?: number | null;
          "project_id": string;
          "step": number;
          "tokens_per_second"?: number | null;
          "training_loss"?: number | null;
          "validation_loss"?: number | null;
        };
        Update: {
          "attempt"?: number;
          "created_at"?: string;
          "epoch"?: number;
          "gpu_memory_gb"?: number | null;
          "gpu_utilization"?: number | null;
          "gradient_norm"?: number | null;
          "job_id"?: string;
          "learning_rate"?: number | null;
          "project_id"?: string;
          "step"?: number;
          "tokens_per_second"?: number | null;
          "training_loss"?: number | null;
          "validation_loss"?: number | null;
        };
        Relationships: [
          {
            foreignKeyName: "metrics_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
        ];
      };
      "notification_channels": {
        Row: {
          "created_at": string;
          "disabled_at": string | null;
          "disabled_reason": string | null;
          "enabled": boolean;
          "event_types": (string)[];
          "id": string;
          "kind": string;
          "project_id": string;
          "target": string;
          "updated_at": string;
          "version": number;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "disabled_at"?: string | null;
          "disabled_reason"?: string | null;
          "enabled"?: boolean;
          "event_types": (string)[];
          "id"?: string;
          "kind": string;
          "project_id": string;
          "target": string;
          "updated_at"?: string;
          "version"?: number;
        };
        Update: {
          "created_at"?: string;
          "disabled_at"?: string | null;
          "disabled_reason"?: string | null;
          "enabled"?: boolean;
          "event_types"?: (string)[];
          "id"?: string;
          "kind"?: string;
          "project_id"?: string;
          "target"?: string;
          "updated_at"?: string;
          "version"?: number;
        };
        Relationships: [
          {
            foreignKeyName: "notification_channels_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "notification_reads": {
        Row: {
          "notification_id": string;
          "read_at": string;
          "user_id": string;
        };
        ComputedFields: never;
        Insert: {
          "notification_id": string;
          "read_at"?: string;
          "user_id": string;
        };
        Update: {
          "notification_id"?: string;
          "read_at"?: string;
          "user_id"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "notification_reads_notification_id_fkey";
            columns: ["notification_id"];
            isOneToOne: false;
            referencedRelation: "notifications";
            referencedColumns: ["id"];
          },
        ];
      };
      "notifications": {
        Row: {
          "created_at": string;
          "event_id": string;
          "id": string;
          "job_id": string | null;
          "level": string;
          "project_id": string;
          "text": string;
          "title": string;
          "type": string;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "event_id": string;
          "id"?: string;
          "job_id"?: string | null;
          "level": string;
          "project_id": string;
          "text": string;
          "title": string;
          "type": string;
        };
        Update: {
          "created_at"?: string;
          "event_id"?: string;
          "id"?: string;
          "job_id"?: string | null;
          "level"?: string;
          "project_id"?: string;
          "text"?: string;
          "title"?: string;
          "type"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "notifications_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "notifications_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "project_members": {
        Row: {
          "created_at": string;
          "project_id": string;
          "role": string;
          "user_id": string;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "project_id": string;
          "role": string;
          "user_id": string;
        };
        Update: {
          "created_at"?: string;
          "project_id"?: string;
          "role"?: string;
          "user_id"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "project_members_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "projects": {
        Row: {
          "archived_at": string | null;
          "budget_warned_month": string | null;
          "created_at": string;
          "id": string;
          "max_jobs": number | null;
          "max_running": number;
          "max_storage_bytes": number | null;
          "name": string;
          "requests_per_minute": number;
          "slug": string;
          "spend_cap_usd": number | null;
          "version": number;
        };
        ComputedFields: never;
        Insert: {
          "archived_at"?: string | null;
          "budget_warned_month"?: string | null;
          "created_at"?: string;
          "id"?: string;
          "max_jobs"?: number | null;
          "max_running"?: number;
          "max_storage_bytes"?: number | null;
          "name": string;
          "requests_per_minute"?: number;
          "slug": string;
          "spend_cap_usd"?: number | null;
          "version"?: number;
        };
        Update: {
          "archived_at"?: string | null;
          "budget_warned_month"?: string | null;
          "created_at"?: string;
          "id"?: string;
          "max_jobs"?: number | null;
          "max_running"?: number;
          "max_storage_bytes"?: number | null;
          "name"?: string;
          "requests_per_minute"?: number;
          "slug"?: string;
          "spend_cap_usd"?: number | null;
          "version"?: number;
        };
        Relationships: [];
      };
      "webhook_attempts": {
        Row: {
          "created_at": string;
          "delivery_id": string;
          "duration_ms": number;
          "error": string | null;
          "id": string;
          "project_id": string;
          "request_headers": NonNullable<Json>;
          "response_body": string | null;
          "response_status": number | null;
          "url": string;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "delivery_id": string;
          "duration_ms": number;
          "error"?: string | null;
          "id"?: string;
          "project_id": string;
          "request_headers": NonNullable<Json>;
          "response_body"?: string | null;
          "response_status"?: number | null;
          "url": string;
        };
        Update: {
          "created_at"?: string;
          "delivery_id"?: string;
          "duration_ms"?: number;
          "error"?: string | null;
          "id"?: string;
          "project_id"?: string;
          "request_headers"?: NonNullable<Json>;
          "response_body"?: string | null;
          "response_status"?: number | null;
          "url"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "webhook_attempts_delivery_id_fkey";
            columns: ["delivery_id"];
            isOneToOne: false;
            referencedRelation: "webhook_deliveries";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_attempts_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "webhook_deliveries": {
        Row: {
          "body": string;
          "channel": string;
          "channel_id": string | null;
          "created_at": string;
          "delivered_at": string | null;
          "duration_ms": number | null;
          "endpoint_id": string | null;
          "error": string | null;
          "event_created_at": string;
          "event_id": string;
          "event_type": string;
          "id": string;
          "job_id": string | null;
          "last_tried_at": string | null;
          "lease": number;
          "leased_until": string | null;
          "next_at": string | null;
          "project_id": string;
          "reason": string | null;
          "response_status": number | null;
          "status": string;
          "target_id": string | null;
          "tries": number;
        };
        ComputedFields: never;
        Insert: {
          "body": string;
          "channel": string;
          "channel_id"?: string | null;
          "created_at"?: string;
          "delivered_at"?: string | null;
          "duration_ms"?: number | null;
          "endpoint_id"?: string | null;
          "error"?: string | null;
          "event_created_at": string;
          "event_id": string;
          "event_type": string;
          "id"?: string;
          "job_id"?: string | null;
          "last_tried_at"?: string | null;
          "lease"?: number;
          "leased_until"?: string | null;
          "next_at"?: string | null;
          "project_id": string;
          "reason"?: string | null;
          "response_status"?: number | null;
          "status"?: string;
          "target_id"?: never;
          "tries"?: number;
        };
        Update: {
          "body"?: string;
          "channel"?: string;
          "channel_id"?: string | null;
          "created_at"?: string;
          "delivered_at"?: string | null;
          "duration_ms"?: number | null;
          "endpoint_id"?: string | null;
          "error"?: string | null;
          "event_created_at"?: string;
          "event_id"?: string;
          "event_type"?: string;
          "id"?: string;
          "job_id"?: string | null;
          "last_tried_at"?: string | null;
          "lease"?: number;
          "leased_until"?: string | null;
          "next_at"?: string | null;
          "project_id"?: string;
          "reason"?: string | null;
          "response_status"?: number | null;
          "status"?: string;
          "target_id"?: never;
          "tries"?: number;
        };
        Relationships: [
          {
            foreignKeyName: "webhook_deliveries_channel_id_fkey";
            columns: ["channel_id"];
            isOneToOne: false;
            referencedRelation: "notification_channels";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_deliveries_endpoint_id_fkey";
            columns: ["endpoint_id"];
            isOneToOne: false;
            referencedRelation: "webhook_endpoints";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_deliveries_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_deliveries_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      "webhook_endpoints": {
        Row: {
          "created_at": string;
          "disabled_at": string | null;
          "disabled_reason": string | null;
          "enabled": boolean;
          "event_types": (string)[];
          "id": string;
          "name": string;
          "old_secret_until": string | null;
          "progress_seconds": number;
          "project_id": string;
          "rotated_at": string | null;
          "secret_version": number;
          "updated_at": string;
          "url": string;
          "version": number;
        };
        ComputedFields: never;
        Insert: {
          "created_at"?: string;
          "disabled_at"?: string | null;
          "disabled_reason"?: string | null;
          "enabled"?: boolean;
          "event_types": (string)[];
          "id"?: string;
          "name": string;
          "old_secret_until"?: string | null;
          "progress_seconds"?: number;
          "project_id": string;
          "rotated_at"?: string | null;
          "secret_version"?: number;
          "updated_at"?: string;
          "url": string;
          "version"?: number;
        };
        Update: {
          "created_at"?: string;
          "disabled_at"?: string | null;
          "disabled_reason"?: string | null;
          "enabled"?: boolean;
          "event_types"?: (string)[];
          "id"?: string;
          "name"?: string;
          "old_secret_until"?: string | null;
          "progress_seconds"?: number;
          "project_id"?: string;
          "rotated_at"?: string | null;
          "secret_version"?: number;
          "updated_at"?: string;
          "url"?: string;
          "version"?: number;
        };
        Relationships: [
          {
            foreignKeyName: "webhook_endpoints_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
    };
    Views: {
      [_ in never]: never;
    };
    Functions: {
      [_ in never]: never;
    };
    Enums: {
      [_ in never]: never;
    };
    CompositeTypes: {
      [_ in never]: never;
    };
  };
};

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">;

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "tunebase">];

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof (
      & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
      & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"]
    )
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals } ? (
    & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"]
  )[TableName] extends {
    Row: infer R;
  } ? R
  : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
      Row: infer R;
    } ? R
    : never
  : never;

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Insert: infer I;
  } ? I
  : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Insert: infer I;
    } ? I
    : never
  : never;

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Update: infer U;
  } ? U
  : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Update: infer U;
    } ? U
    : never
  : never;

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never,
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
  : never;

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never,
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
  : never;

export const Constants = {
  "tunebase": {
    Enums: {},
  },
} as const;
