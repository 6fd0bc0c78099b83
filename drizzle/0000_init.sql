-- All of it may be repeated: what the app has dropped is made again, and what is there stays.
-- Ours alone, out of the way of the app's own migrations. A role may own the schema without the right to create one.
DO $$ BEGIN
	IF to_regnamespace('clerk_sync') IS NULL THEN CREATE SCHEMA "clerk_sync"; END IF;
END $$;
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "clerk_sync"."runs" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "clerk_sync"."runs_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"pass" text NOT NULL,
	"trigger" text NOT NULL,
	"status" text NOT NULL,
	"instance_id" text NOT NULL,
	"host" text NOT NULL,
	"approve_deletes" integer,
	"started_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"heartbeat_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"finished_at" timestamp (3) with time zone,
	"counts" jsonb,
	"requests" jsonb,
	"notes" jsonb,
	"rejected" jsonb,
	"error" jsonb
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "clerk_sync"."state" (
	"id" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"instance_id" text NOT NULL,
	"watermark" timestamp (3) with time zone,
	"difference" jsonb,
	"full_pass_due_at" timestamp (3) with time zone,
	CONSTRAINT "state_one_row" CHECK ("clerk_sync"."state"."id")
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "clerk_sync"."tombstones" (
	"clerk_id" text PRIMARY KEY NOT NULL,
	"deleted_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"run_id" bigint
);
--> statement-breakpoint
CREATE UNIQUE INDEX IF NOT EXISTS "runs_one_running" ON "clerk_sync"."runs" USING btree ("status") WHERE "clerk_sync"."runs"."status" = 'running';
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "runs_started_at_idx" ON "clerk_sync"."runs" USING btree ("started_at");
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "tombstones_deleted_at_idx" ON "clerk_sync"."tombstones" USING btree ("deleted_at");
--> statement-breakpoint
-- A table that the app already has is adopted in place: nothing below touches a row or a column that is there.
CREATE TABLE IF NOT EXISTS "users" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"clerk_id" text NOT NULL,
	"name" text NOT NULL,
	"email" text,
	"image_url" text NOT NULL,
	"clerk_created_at" timestamp (3) with time zone,
	"clerk_updated_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
-- Nullable, since the app's old webhook may still insert without them.
ALTER TABLE "users" ADD COLUMN IF NOT EXISTS "email" text;
--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN IF NOT EXISTS "clerk_created_at" timestamp (3) with time zone;
--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN IF NOT EXISTS "clerk_updated_at" timestamp (3) with time zone;
--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN IF NOT EXISTS "created_at" timestamp (3) with time zone DEFAULT now() NOT NULL;
--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN IF NOT EXISTS "updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL;
--> statement-breakpoint
-- The inserts need a unique clerk_id; an app may have it under any name, as a constraint or as an index.
DO $$
BEGIN
	IF NOT EXISTS (
		SELECT FROM pg_index i
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = to_regclass('users') AND i.indisunique AND i.indisvalid AND i.indimmediate
			AND i.indpred IS NULL AND i.indnkeyatts = 1 AND a.attname = 'clerk_id'
	) THEN
		ALTER TABLE "users" ADD CONSTRAINT "users_clerk_id_unique" UNIQUE ("clerk_id");
	END IF;
END $$;
--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "users_clerk_created_at_idx" ON "users" USING btree ("clerk_created_at");
