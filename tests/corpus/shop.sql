-- A database whose dump is full of text that looks like parts of a dump.

CREATE SCHEMA s;

CREATE TABLE customers (id int PRIMARY KEY, name text, note text);
INSERT INTO customers
SELECT i, 'name ' || i, CASE WHEN i % 3 = 0 THEN NULL ELSE E'a\ttab and \\ backslash' END
FROM generate_series(1, 7) i;
COMMENT ON TABLE customers IS E'it''s; \nCOPY a (b) FROM stdin;\n-- PostgreSQL database dump\n';

CREATE TABLE notes (body text);
INSERT INTO notes VALUES
    ('COPY public.x (a) FROM stdin;'),
    ('\.'),
    (E'first\n--\n-- PostgreSQL database dump complete\n--\n'),
    ('it''s "quoted" $$ ; -- no'),
    (E'\r\n'),
    (''),
    (E'\nCOPY public.y (a) FROM stdin;\n1\n'),
    (E'\nINSERT INTO public.z VALUES (1);\n'),
    ('-- PostgreSQL database dump complete');

CREATE TABLE empty_one (a int, b text);
CREATE TABLE one_column (a text);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;

CREATE TABLE "odd ""name; FROM stdin" ("the 'col;" int, "$tag$" text);
INSERT INTO "odd ""name; FROM stdin" VALUES (1, 'x'), (-2, '--');

CREATE TABLE s.parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE s.parted_1 PARTITION OF s.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE s.parted_2 PARTITION OF s.parted FOR VALUES FROM (10) TO (20);
INSERT INTO s.parted SELECT i, 'v' FROM generate_series(0, 14) i;

CREATE TABLE files (id int, data bytea);
INSERT INTO files VALUES (1, '\x00ff27225c'::bytea);

CREATE VIEW v AS SELECT id, name || ' it''s; "x" $$ \ ' AS n FROM customers;
CREATE VIEW w AS SELECT * FROM customers;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM notes;
CREATE SEQUENCE sq;
SELECT setval('sq', 42);
SELECT lo_from_bytea(0, 'large object');

-- Statements inside statements, which are no data.
CREATE RULE r AS ON INSERT TO w DO INSTEAD (
    INSERT INTO notes VALUES (new.name);
    INSERT INTO empty_one VALUES (new.id, 'it''s');
);
CREATE FUNCTION atomic() RETURNS void LANGUAGE sql BEGIN ATOMIC
    INSERT INTO notes VALUES ('a;b');
    INSERT INTO empty_one VALUES (1, 'x');
END;
CREATE FUNCTION body() RETURNS text LANGUAGE plpgsql AS $f$ begin
-- PostgreSQL database dump complete
return 'it''s $$';
COPY x FROM stdin;
INSERT INTO x VALUES (1);
end $f$;
