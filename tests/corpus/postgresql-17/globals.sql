--
-- PostgreSQL database cluster dump
--

\restrict dLOfKbA0PoULXg8DFnkuEqJXwwV68qOqy1nv4j3StruTk1xEDNH7e2NqxuYN1uM

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








\unrestrict dLOfKbA0PoULXg8DFnkuEqJXwwV68qOqy1nv4j3StruTk1xEDNH7e2NqxuYN1uM

--
-- PostgreSQL database cluster dump complete
--

