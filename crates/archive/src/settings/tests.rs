use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::read(&variables(pairs))
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    Variables::new(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())))
}

fn s3(pairs: &[(&str, &str)]) -> S3Place {
    let mut all = vec![("WALG_S3_PREFIX", "s3://bucket/spilo/herd/wal/15/")];
    all.extend(pairs);
    match read(&all).expect("settings").location {
        Location::S3(place) => place,
        other => panic!("{other}"),
    }
}

#[test]
fn a_storage_must_be_named() {
    assert_eq!(read(&[]).err(), Some(SettingsError::NoStorage));
    assert_eq!(read(&[("WALG_S3_PREFIX", "")]).err(), Some(SettingsError::NoStorage));
}

#[test]
fn the_older_names_count_behind_the_newer() {
    let place = |pairs| read(pairs).expect("settings").location.to_string();
    assert_eq!(place(&[("WALE_FILE_PREFIX", "/old")]), "the directory /old");
    assert_eq!(place(&[("WALE_FILE_PREFIX", "/old"), ("WALG_FILE_PREFIX", "/new")]), "the directory /new");
    assert_eq!(place(&[("WALG_FILE_PREFIX", "file://localhost/new")]), "the directory /new");
}

#[test]
fn an_s3_of_ones_own_is_spoken_to_as_spilo_sets_it_up() {
    let place = s3(&[("WALE_S3_ENDPOINT", "http+path://store:9000")]);
    assert_eq!(place.endpoint.as_deref(), Some("http://store:9000"));
    assert!(place.path_style);
    assert_eq!((place.bucket.as_str(), place.root.as_str()), ("bucket", "spilo/herd/wal/15"));
    assert!(s3(&[("AWS_ENDPOINT", "http://10.0.0.1:9000")]).path_style, "no name can stand before an address");
    let place = s3(&[("AWS_REGION", "eu-west-1"), ("AWS_S3_FORCE_PATH_STYLE", "true")]);
    assert_eq!((place.region.as_str(), place.endpoint, place.path_style), ("eu-west-1", None, true));
    assert!(!s3(&[("AWS_REGION", "eu-west-1")]).path_style);
}

#[test]
fn encryption_by_the_service() {
    let sse = |pairs: &[(&str, &str)]| {
        let mut all = vec![("AWS_REGION", "r")];
        all.extend(pairs);
        let place = s3(&all);
        (place.encryption, place.kms_key)
    };
    assert_eq!(sse(&[("WALG_S3_SSE", "AES256")]), (Some("AES256".into()), None));
    assert_eq!(sse(&[("WALG_S3_SSE", "AES256"), ("WALG_DISABLE_S3_SSE", "true")]), (None, None));
    let kms = [("WALG_S3_SSE", "aws:kms"), ("WALG_S3_SSE_KMS_ID", "k")];
    assert_eq!(sse(&kms), (Some("aws:kms".into()), Some("k".into())));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for name in ["WALG_PGP_KEY", "WALE_GPG_KEY_ID", "WALG_CSE_KMS_ID", "WALG_S3_SSE_C", "WALG_STORAGE_PREFIX"] {
        let error = read(&[("WALG_FILE_PREFIX", "/a"), (name, "SECRET")]).expect_err(name).to_string();
        assert!(error.contains("cannot do") && !error.contains("SECRET"), "{error}");
    }
    for (name, prefix) in [("WALG_SWIFT_PREFIX", "swift://c"), ("WALG_SSH_PREFIX", "ssh://h/p")] {
        assert!(matches!(read(&[(name, prefix)]), Err(SettingsError::NotBuilt { .. })), "{name}");
    }
    read(&[("WALG_FILE_PREFIX", "/a"), ("WALG_TARGET_STORAGE", "default")]).expect("its default");
}

#[test]
fn mistakes_are_named() {
    for (pairs, words) in [
        (&[("WALG_S3_PREFIX", "bucket/path")][..], "s3://bucket/path"),
        (&[("WALG_S3_PREFIX", "s3://b")], "AWS_REGION"),
        (&[("WALG_S3_PREFIX", "s3://b"), ("AWS_REGION", "r"), ("AWS_ACCESS_KEY_ID", "a")], "AWS_SECRET_ACCESS_KEY"),
        (&[("WALG_S3_PREFIX", "s3://b"), ("AWS_REGION", "r"), ("WALG_S3_SSE", "rot13")], "AES256"),
        (&[("WALG_AZ_PREFIX", "azure://c")], "AZURE_STORAGE_ACCOUNT"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_COMPRESSION_METHOD", "zip")], "zip"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_PREVENT_WAL_OVERWRITE", "perhaps")], "true or false"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_DOWNLOAD_CONCURRENCY", "0")], "1 or more"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_PG_WAL_SIZE", "15")], "power of two"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_LIBSODIUM_KEY", "short")], "25"),
        (&[("WALG_FILE_PREFIX", "/a"), ("WALG_LIBSODIUM_KEY_PATH", "/k")], "not read"),
    ] {
        let error = read(pairs).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_keys_file_is_read_by_who_may_and_secrets_are_not_shown() {
    let given = variables(&[("WALG_FILE_PREFIX", "/a"), ("WALG_LIBSODIUM_KEY_PATH", "/k")]);
    assert_eq!(key_file(&given), Some(PathBuf::from("/k")));
    let settings = Settings::read(&given.with_key("a key of at least twenty-five bytes\n")).expect("settings");
    assert!(settings.key.is_some());
    let place = s3(&[("AWS_REGION", "r"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "SECRET")]);
    let shown = format!("{settings:?} {:?}", Location::S3(place));
    assert!(!shown.contains("twenty-five") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn defaults_are_those_of_wal_g() {
    let settings = read(&[("WALG_FILE_PREFIX", "/a")]).expect("settings");
    assert_eq!((settings.method, settings.overwrite, settings.segment_size), (Method::Lz4, false, 16 << 20));
    assert!(read(&[("WALG_FILE_PREFIX", "/a"), ("WALG_PREVENT_WAL_OVERWRITE", "false")]).expect("settings").overwrite);
}
