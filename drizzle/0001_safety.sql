CREATE TABLE IF NOT EXISTS "clerk_sync"."first_seen" (
	"clerk_id" text PRIMARY KEY NOT NULL,
	"first_seen_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ALTER COLUMN "instance_id" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN IF NOT EXISTS "deleted" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN IF NOT EXISTS "deleted_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN IF NOT EXISTS "withheld" jsonb;--> statement-breakpoint
ALTER TABLE "clerk_sync"."state" ADD COLUMN IF NOT EXISTS "table_identity" text;--> statement-breakpoint
ALTER TABLE "clerk_sync"."state" ADD COLUMN IF NOT EXISTS "deletion_hold" text;--> statement-breakpoint
-- A run about a single user is not the lease.
DO $$ BEGIN
	IF EXISTS (SELECT FROM pg_indexes WHERE schemaname = 'clerk_sync' AND indexname = 'runs_one_running' AND indexdef NOT LIKE '%pass%')
	THEN DROP INDEX "clerk_sync"."runs_one_running"; END IF;
END $$;
--> statement-breakpoint
CREATE UNIQUE INDEX IF NOT EXISTS "runs_one_running" ON "clerk_sync"."runs" USING btree ("status") WHERE "clerk_sync"."runs"."status" = 'running' and "clerk_sync"."runs"."pass" <> 'user';