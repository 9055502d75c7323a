-- The newest profile of each user; a user who is erased has no row.
CREATE TABLE interest_profiles (
    user_id text PRIMARY KEY,
    profile jsonb NOT NULL
);

-- A null profile says that the user was erased, and never becomes a row.
CREATE FUNCTION erase_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM interest_profiles WHERE user_id = NEW.user_id;
    RETURN NULL;
END $$;

CREATE TRIGGER erased BEFORE INSERT ON interest_profiles
FOR EACH ROW WHEN (NEW.profile IS NULL) EXECUTE FUNCTION erase_user();

-- Who is interested in what, and how much; an example of what can be asked.
CREATE VIEW interests AS
SELECT
    user_id,
    each ->> 'interest' AS interest,
    (each ->> 'probability')::float AS probability,
    each ->> 'trend' AS trend,
    to_timestamp((profile ->> 'time')::bigint / 1000.0) AS last_event
FROM interest_profiles, jsonb_array_elements(profile -> 'interests') AS each;
