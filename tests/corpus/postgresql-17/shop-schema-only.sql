--
-- PostgreSQL database dump
--

\restrict ZeIPvndW3846T44IigEy7GP3Qrwlxc2VqEandbqTLvavt9HPcyfHIffUZBhqzap

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
-- PostgreSQL database dump complete
--

\unrestrict ZeIPvndW3846T44IigEy7GP3Qrwlxc2VqEandbqTLvavt9HPcyfHIffUZBhqzap

