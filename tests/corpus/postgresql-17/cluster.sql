--
-- PostgreSQL database cluster dump
--

\restrict Y2wgTa9kyodlGn7wDWdDuDJEMzIeteoMoGc1XRPPuQbCgieYL0dKWjxDhhZjMor

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict Y2wgTa9kyodlGn7wDWdDuDJEMzIeteoMoGc1XRPPuQbCgieYL0dKWjxDhhZjMor

--
-- Databases
--

--
-- Database "template1" dump
--

\connect template1

--
-- PostgreSQL database dump
--

\restrict bTFl8sWSfubUyRVXVzcUtvKKohEJSfmDxT6hqawr5qu2NSqjY8t4QrHRP8O1d9q

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 17.12 (Debian 17.12-0+deb13u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict bTFl8sWSfubUyRVXVzcUtvKKohEJSfmDxT6hqawr5qu2NSqjY8t4QrHRP8O1d9q

--
-- Database "one_empty_table" dump
--

--
-- PostgreSQL database dump
--

\restrict D7bo0hdBdtcT49SniybGmCTuXDyteWDh3vIbmBW7i8a51dutkCsHZKas6jB3svV

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 17.12 (Debian 17.12-0+deb13u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: one_empty_table; Type: DATABASE; Schema: -; Owner: postgres
--

CREATE DATABASE one_empty_table WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';


ALTER DATABASE one_empty_table OWNER TO postgres;

\unrestrict D7bo0hdBdtcT49SniybGmCTuXDyteWDh3vIbmBW7i8a51dutkCsHZKas6jB3svV
\connect one_empty_table
\restrict D7bo0hdBdtcT49SniybGmCTuXDyteWDh3vIbmBW7i8a51dutkCsHZKas6jB3svV

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: t; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.t (
    a integer
);


ALTER TABLE public.t OWNER TO postgres;

--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.t (a) FROM stdin;
\.


--
-- PostgreSQL database dump complete
--

\unrestrict D7bo0hdBdtcT49SniybGmCTuXDyteWDh3vIbmBW7i8a51dutkCsHZKas6jB3svV

--
-- Database "postgres" dump
--

\connect postgres

--
-- PostgreSQL database dump
--

\restrict L9679xmy6StKYXYZ7yb5TfI1kVpjlOoXYHsEIPNJldQeDzcVxMatPOCakc5nMK3

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 17.12 (Debian 17.12-0+deb13u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict L9679xmy6StKYXYZ7yb5TfI1kVpjlOoXYHsEIPNJldQeDzcVxMatPOCakc5nMK3

--
-- Database "shop" dump
--

--
-- PostgreSQL database dump
--

\restrict 3RJU7F8t7AybKdb1CbHBeyDqD5TbI2zueyKiirkjHOa3iMrAiPAZUP6C00bVcQm

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 17.12 (Debian 17.12-0+deb13u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: shop; Type: DATABASE; Schema: -; Owner: postgres
--

CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';


ALTER DATABASE shop OWNER TO postgres;

\unrestrict 3RJU7F8t7AybKdb1CbHBeyDqD5TbI2zueyKiirkjHOa3iMrAiPAZUP6C00bVcQm
\connect shop
\restrict 3RJU7F8t7AybKdb1CbHBeyDqD5TbI2zueyKiirkjHOa3iMrAiPAZUP6C00bVcQm

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: s; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA s;


ALTER SCHEMA s OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: empty_one; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.empty_one (
    a integer,
    b text
);


ALTER TABLE public.empty_one OWNER TO postgres;

--
-- Name: notes; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.notes (
    body text
);


ALTER TABLE public.notes OWNER TO postgres;

--
-- Name: atomic(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.atomic() RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
 INSERT INTO public.notes (body)
   VALUES ('a;b'::text);
 INSERT INTO public.empty_one (a, b)
   VALUES (1, 'x'::text);
END;


ALTER FUNCTION public.atomic() OWNER TO postgres;

--
-- Name: body(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.body() RETURNS text
    LANGUAGE plpgsql
    AS $_$ begin
-- PostgreSQL database dump complete
return 'it''s $$';
COPY x FROM stdin;
INSERT INTO x VALUES (1);
end $_$;


ALTER FUNCTION public.body() OWNER TO postgres;

--
-- Name: customers; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.customers (
    id integer NOT NULL,
    name text,
    note text
);


ALTER TABLE public.customers OWNER TO postgres;

--
-- Name: TABLE customers; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON TABLE public.customers IS 'it''s; 
COPY a (b) FROM stdin;
-- PostgreSQL database dump
';


--
-- Name: files; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.files (
    id integer,
    data bytea
);


ALTER TABLE public.files OWNER TO postgres;

--
-- Name: mv; Type: MATERIALIZED VIEW; Schema: public; Owner: postgres
--

CREATE MATERIALIZED VIEW public.mv AS
 SELECT count(*) AS count
   FROM public.notes
  WITH NO DATA;


ALTER MATERIALIZED VIEW public.mv OWNER TO postgres;

--
-- Name: no_columns; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.no_columns (
);


ALTER TABLE public.no_columns OWNER TO postgres;

--
-- Name: odd "name; FROM stdin; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public."odd ""name; FROM stdin" (
    "the 'col;" integer,
    "$tag$" text
);


ALTER TABLE public."odd ""name; FROM stdin" OWNER TO postgres;

--
-- Name: one_column; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.one_column (
    a text
);


ALTER TABLE public.one_column OWNER TO postgres;

--
-- Name: sq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.sq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE public.sq OWNER TO postgres;

--
-- Name: v; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.v AS
 SELECT id,
    (name || ' it''s; "x" $$ \ '::text) AS n
   FROM public.customers;


ALTER VIEW public.v OWNER TO postgres;

--
-- Name: w; Type: VIEW; Schema: public; Owner: postgres
--

CREATE VIEW public.w AS
 SELECT id,
    name,
    note
   FROM public.customers;


ALTER VIEW public.w OWNER TO postgres;

--
-- Name: parted; Type: TABLE; Schema: s; Owner: postgres
--

CREATE TABLE s.parted (
    k integer,
    v text
)
PARTITION BY RANGE (k);


ALTER TABLE s.parted OWNER TO postgres;

--
-- Name: parted_1; Type: TABLE; Schema: s; Owner: postgres
--

CREATE TABLE s.parted_1 (
    k integer,
    v text
);


ALTER TABLE s.parted_1 OWNER TO postgres;

--
-- Name: parted_2; Type: TABLE; Schema: s; Owner: postgres
--

CREATE TABLE s.parted_2 (
    k integer,
    v text
);


ALTER TABLE s.parted_2 OWNER TO postgres;

--
-- Name: parted_1; Type: TABLE ATTACH; Schema: s; Owner: postgres
--

ALTER TABLE ONLY s.parted ATTACH PARTITION s.parted_1 FOR VALUES FROM (0) TO (10);


--
-- Name: parted_2; Type: TABLE ATTACH; Schema: s; Owner: postgres
--

ALTER TABLE ONLY s.parted ATTACH PARTITION s.parted_2 FOR VALUES FROM (10) TO (20);


--
-- Data for Name: customers; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.customers (id, name, note) FROM stdin;
1	name 1	a\ttab and \\ backslash
2	name 2	a\ttab and \\ backslash
3	name 3	\N
4	name 4	a\ttab and \\ backslash
5	name 5	a\ttab and \\ backslash
6	name 6	\N
7	name 7	a\ttab and \\ backslash
\.


--
-- Data for Name: empty_one; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.empty_one (a, b) FROM stdin;
\.


--
-- Data for Name: files; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.files (id, data) FROM stdin;
1	\\x00ff27225c
\.


--
-- Data for Name: no_columns; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.no_columns  FROM stdin;


\.


--
-- Data for Name: notes; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.notes (body) FROM stdin;
COPY public.x (a) FROM stdin;
\\.
first\n--\n-- PostgreSQL database dump complete\n--\n
it's "quoted" $$ ; -- no
\r\n

\nCOPY public.y (a) FROM stdin;\n1\n
\nINSERT INTO public.z VALUES (1);\n
-- PostgreSQL database dump complete
\.


--
-- Data for Name: odd "name; FROM stdin; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public."odd ""name; FROM stdin" ("the 'col;", "$tag$") FROM stdin;
1	x
-2	--
\.


--
-- Data for Name: one_column; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.one_column (a) FROM stdin;
\.


--
-- Data for Name: parted_1; Type: TABLE DATA; Schema: s; Owner: postgres
--

COPY s.parted_1 (k, v) FROM stdin;
0	v
1	v
2	v
3	v
4	v
5	v
6	v
7	v
8	v
9	v
\.


--
-- Data for Name: parted_2; Type: TABLE DATA; Schema: s; Owner: postgres
--

COPY s.parted_2 (k, v) FROM stdin;
10	v
11	v
12	v
13	v
14	v
\.


--
-- Name: sq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.sq', 42, true);


--
-- Name: 16450; Type: BLOB METADATA; Schema: -; Owner: postgres
--

SELECT pg_catalog.lo_create('16450');

ALTER LARGE OBJECT 16450 OWNER TO postgres;

--
-- Data for Name: 16450; Type: BLOBS; Schema: -; Owner: postgres
--

BEGIN;

SELECT pg_catalog.lo_open('16450', 131072);
SELECT pg_catalog.lowrite(0, '\x6c61726765206f626a656374');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: customers customers_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);


--
-- Name: w r; Type: RULE; Schema: public; Owner: postgres
--

CREATE RULE r AS
    ON INSERT TO public.w DO INSTEAD ( INSERT INTO public.notes (body)
  VALUES (new.name);
 INSERT INTO public.empty_one (a, b)
  VALUES (new.id, 'it''s'::text);
);


--
-- Name: mv; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: postgres
--

REFRESH MATERIALIZED VIEW public.mv;


--
-- PostgreSQL database dump complete
--

\unrestrict 3RJU7F8t7AybKdb1CbHBeyDqD5TbI2zueyKiirkjHOa3iMrAiPAZUP6C00bVcQm

--
-- PostgreSQL database cluster dump complete
--

