-- Users in the three roles, each with a password from the environment: `lvm db psql -f migrations/users.sql`, as the owner.
-- Run again, it sets the passwords again. docker-compose.yml runs it after `lvm db migrate`.
\set ON_ERROR_STOP on
\getenv worker LVM_WORKER_PASSWORD
\getenv gatekeeper LVM_GATEKEEPER_PASSWORD
\getenv reader LVM_READER_PASSWORD
SELECT format('CREATE USER %I IN ROLE %I', name, 'lvm_' || name)
FROM (VALUES ('worker'), ('gatekeeper'), ('reader')) users (name)
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
SET log_statement = 'none'; -- no password in the server's log
ALTER USER worker PASSWORD :'worker';
ALTER USER gatekeeper PASSWORD :'gatekeeper';
ALTER USER reader PASSWORD :'reader' CONNECTION LIMIT 10;
ALTER USER reader SET statement_timeout = '60s';
