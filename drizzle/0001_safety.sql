CREATE TABLE "clerk_sync"."first_seen" (
	"clerk_id" text PRIMARY KEY NOT NULL,
	"first_seen_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ALTER COLUMN "instance_id" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN "deleted" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN "deleted_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "clerk_sync"."runs" ADD COLUMN "withheld" jsonb;--> statement-breakpoint
ALTER TABLE "clerk_sync"."state" ADD COLUMN "table_identity" text;--> statement-breakpoint
ALTER TABLE "clerk_sync"."state" ADD COLUMN "deletion_hold" text;--> statement-breakpoint
DROP INDEX "clerk_sync"."runs_one_running";--> statement-breakpoint
CREATE UNIQUE INDEX "runs_one_running" ON "clerk_sync"."runs" USING btree ("status") WHERE "clerk_sync"."runs"."status" = 'running' and "clerk_sync"."runs"."pass" <> 'user';