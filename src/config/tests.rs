use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{values::LISTEN, *};
use crate::{
    access::{Access, Claims, Grants, LinkClaims, OriginPolicy, Patterns, Share},
    content::Form,
    http::address::{BasePath, PublicUrl},
    id::DocumentId,
    logging::LogFormat,
    operator::{Export, Place, Target, What, schedule::Plan},
    token::{Keys, LinkKeys},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SERVER_TOKEN: &str = "server-token-0123456789abcdefghi";

fn parse(arguments: &[&str]) -> Result<Command, Stop> {
    Command::parse(["cowrite"].iter().chain(arguments).map(OsString::from))
}

fn serve(arguments: &[&str]) -> ServeConfig {
    match parse(&[&["serve"], arguments].concat()) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn refused(arguments: &[&str]) -> String {
    match parse(arguments) {
        Err(Stop::Usage(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

fn key_file(name: &str) -> String {
    format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn c1_the_arguments_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn c1_every_setting_has_a_variable_of_the_same_name() {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("serve");

    for argument in serve.get_arguments().filter(|argument| argument.get_id() != "help") {
        let flag = argument.get_long().expect("a long flag");
        let variable = format!("COWRITE_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(
            argument.get_env().and_then(OsStr::to_str),
            Some(variable.as_str()),
            "{flag}"
        );
        assert!(
            argument.is_hide_env_values_set(),
            "{flag}: the help of one machine is that of all"
        );
    }
}

#[test]
fn c1_the_defaults_of_the_flags_are_those_of_the_plain_struct() {
    let from_flags = format!("{:?}", serve(&[]));

    assert_eq!(from_flags, format!("{:?}", ServeConfig::new(LISTEN, "./data")));
}

#[test]
fn c1_flags_reach_their_fields() {
    let config = serve(&[
        "--listen=[::1]:0",
        "--admin-listen=127.0.0.1:9090",
        "--public-metrics=true",
        "--data=/tmp/x",
        "--message-bytes-max=1MiB",
        "--unfinished-bytes-max=8MiB",
        "--document-bytes-max=2MiB",
        "--outbox-bytes-max=3MiB",
        "--unsaved-bytes-max=4MiB",
        "--connections-max=7",
        "--auth-timeout=20s",
        "--idle-timeout=1m",
        "--snapshot-bytes=4096",
        "--public-url=https://docs.example/cowrite/",
        "--base-path=/cowrite/",
        "--log-format=json",
        "--stamp-presence=false",
        "--reader-presence=false",
        "--keep-deleted=versions/*,a",
        "--keep-history=1h 30m",
        "--rest-after-crashes=5",
        "--segment-bytes=1MiB",
        "--threads=3",
        "--shutdown-timeout=500ms",
        "--memory-max=1GiB",
        "--answers-bytes-max=5MiB",
        "--trust-proxy=fly-client-ip",
        "--connections-per-address=1",
        "--connections-per-user=2",
        "--sessions-per-document=3",
        "--requests-per-address=4",
        "--request-timeout=5s",
        "--handshakes-per-second=6",
        "--refusals-per-minute=7",
        "--new-documents-per-minute=8",
        "--memory-percent-per-address=40",
        "--memory-percent-per-user=10",
        "--messages-per-second=9",
        "--presence-per-second=10",
        "--received-bytes-per-second=11KiB",
        "--cpu-percent=12",
        "--backup-to=s",
        "--backup-every=5s",
        "--backup-keep=30d",
    ]);

    let expected = ServeConfig {
        #[cfg(feature = "postgres")]
        database: None,
        cluster: None,
        listen: "[::1]:0".parse().expect("an address"),
        data: "/tmp/x".into(),
        admin_listen: Some("127.0.0.1:9090".parse().expect("an address")),
        public_metrics: true,
        tls: None,
        admission: Admission::Open,
        admin_token: None,
        origins: OriginPolicy::same_origin().on_loopback_only(),
        public_url: Some(PublicUrl::parse("https://docs.example/cowrite").expect("a URL")),
        base_path: BasePath::parse("/cowrite").expect("a path"),
        log_format: LogFormat::Json,
        message_bytes_max: 1 << 20,
        unfinished_bytes_max: 8 << 20,
        document_bytes_max: 2 << 20,
        outbox_bytes_max: 3 << 20,
        unsaved_bytes_max: 4 << 20,
        memory_max: Some(1 << 30),
        answers_bytes_max: 5 << 20,
        connections_max: 7,
        budgets: Budgets {
            trust_proxy: Some("fly-client-ip".parse().expect("a proxy")),
            connections_per_address: 1,
            connections_per_user: 2,
            sessions_per_document: 3,
            requests_per_address: 4,
            request_timeout: Duration::from_secs(5),
            handshakes_per_second: 6,
            refusals_per_minute: 7,
            new_documents_per_minute: 8,
            memory_percent_per_address: 40,
            memory_percent_per_user: 10,
            messages_per_second: 9,
            presence_per_second: 10,
            received_bytes_per_second: 11 << 10,
            cpu_percent: 12,
        },
        auth_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(60),
        snapshot_bytes: 4_096,
        stamp_presence: false,
        reader_presence: false,
        keep_deleted: Patterns::new(["versions/*".to_owned(), "a".to_owned()]).expect("patterns"),
        keep_history: Duration::from_secs(5_400),
        rest_after_crashes: 5,
        segment_bytes: 1 << 20,
        backup: Some(Plan {
            to: Target::Folder("s".into()),
            every: Duration::from_secs(5),
            keep: Some(Duration::from_secs(30 * 24 * 3_600)),
        }),
        threads: 3,
        shutdown_timeout: Duration::from_millis(500),
        is_supervised: false,
    };
    assert_eq!(format!("{config:?}"), format!("{expected:?}"));
}

#[test]
fn b33_a_backup_that_cannot_be_is_refused_at_the_start() {
    assert_eq!(serve(&["--backup-every=1h"]).backup.map(|plan| plan.every), None);
    assert!(refused(&["serve", "--backup-to=b", "--backup-every=4s"]).contains("must be at least 5s"));
    assert!(refused(&["serve", "--backup-to=ftp://verysecret"]).starts_with("--backup-to: write a folder, s3://"));
    #[cfg(feature = "postgres")]
    assert!(
        refused(&["serve", "--backup-to=b", "--database-url=postgres://u:p@host/d"]).contains("are in the database")
    );
}

#[test]
fn c2_an_unknown_variable_is_refused_with_the_nearest_known_one() {
    let check = |names: &[&str]| check_environment(names.iter().map(OsString::from));

    assert_eq!(
        check(&["COWRITE_LISTEN", "COWRITE_JWT_SECRET", "PATH", "cowrite_x"]),
        Ok(())
    );
    assert_eq!(
        check(&["PATH", "COWRITE_JWT_SECERT"]),
        Err(
            "the environment variable COWRITE_JWT_SECERT is no setting of cowrite: did you mean COWRITE_JWT_SECRET?"
                .to_owned()
        )
    );
    assert!(check(&["COWRITE_IDLE_TIMEOUT_S"]).is_err_and(|said| said.ends_with("COWRITE_IDLE_TIMEOUT?")));
}

#[test]
fn c3_a_wrong_value_is_one_sentence_that_says_what_to_write() {
    for (arguments, said) in [
        (
            ["serve", "--listen=localhost"],
            "write an IP address and a port, like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            ["serve", "--idle-timeout=30"],
            "write a duration with its unit, like 30s, 5m or 1h",
        ),
        (
            ["serve", "--message-bytes-max=big"],
            "write a size like 16MiB, or a number of bytes",
        ),
        (["serve", "--message-bytes-max=1023"], "it must be 1.0 KiB to 256.0 MiB"),
        (["serve", "--outbox-bytes-max=64KiB"], "it must be 1.0 MiB to 1.0 GiB"),
        (
            ["serve", "--connections-max=0"],
            "it must be a number from 1 to 10000000",
        ),
        (
            ["serve", "--lisen=x"],
            "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen'",
        ),
        (
            ["token", "--sub=ada"],
            "the following required arguments were not provided: --document <PATTERN=write|read>",
        ),
    ] {
        let sentence = refused(&arguments);
        assert!(sentence.ends_with(said), "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
    }
    assert_eq!(serve(&["--message-bytes-max=1024"]).message_bytes_max, 1_024);
    assert_eq!(serve(&["--keep-history=0"]).keep_history, Duration::ZERO);
}

#[test]
fn c3_help_and_version_are_no_errors() {
    assert!(matches!(parse(&["--help"]), Err(Stop::Told(_))));
    assert!(matches!(parse(&["serve", "--help"]), Err(Stop::Told(_))));
    assert!(matches!(parse(&["--version"]), Err(Stop::Told(_))));
    assert!(matches!(parse(&[]), Err(Stop::NoCommand(help)) if help.contains("cowrite serve")));
}

#[test]
fn c4_without_a_key_only_this_machine_is_served_unless_told_otherwise() {
    assert!(refused(&["serve", "--listen=0.0.0.0:80"]).starts_with("0.0.0.0:80 can be reached from other machines"));
    assert!(refused(&["serve", "--listen=[::]:80"]).starts_with("[::]:80 can be reached"));
    assert!(matches!(serve(&["--listen=127.0.0.2:80"]).admission, Admission::Open));
    assert!(matches!(
        serve(&["--listen=[::ffff:127.0.0.1]:80"]).admission,
        Admission::Open
    ));

    let anonymous = serve(&["--listen=0.0.0.0:80", "--allow-anonymous"]);
    assert!(matches!(anonymous.admission, Admission::Open));
    assert_eq!(anonymous.origins, OriginPolicy::same_origin());
    assert!(
        anonymous
            .warning()
            .is_some_and(|said| said.contains("everybody who reaches it"))
    );

    let keyed = serve(&["--listen=0.0.0.0:80", "--jwt-secret", SECRET]);
    assert!(matches!(keyed.admission, Admission::Tokens(_)));
    assert_eq!(keyed.origins, OriginPolicy::same_origin());
    assert_eq!(keyed.warning(), None);

    let with_server_token = serve(&["--listen=0.0.0.0:80", "--server-token", SERVER_TOKEN]);
    assert!(matches!(
        with_server_token.admission,
        Admission::Tokens(Keys {
            issuer: None,
            server: Some(_),
            ..
        })
    ));
    assert_eq!(with_server_token.origins, OriginPolicy::same_origin());
    assert_eq!(with_server_token.warning(), None);
}

#[test]
fn c5_settings_that_contradict_each_other_are_refused() {
    let public_key = key_file("p256.public");

    for (arguments, said) in [
        (
            vec!["--jwt-secret", SECRET, "--allow-anonymous"],
            "contradict each other",
        ),
        (
            vec!["--listen=127.0.0.1:9090", "--admin-listen=127.0.0.1:9090"],
            "--admin-listen is --listen",
        ),
        (vec!["--tls-cert", "/nowhere.pem"], "--tls-key"),
        (
            vec!["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"],
            "--tls-cert /nowhere.pem: No such file",
        ),
        (vec!["--jwks", "http://issuer.example/keys"], "without TLS"),
        (vec!["--jwks", &public_key], "it is no JWKS"),
        (vec!["--jwks", &public_key, "--jwks-refresh", "0s"], "at least 1s"),
        (
            vec!["--jwks", "https://issuer.example/keys", "--allow-anonymous"],
            "contradict each other",
        ),
        (
            vec!["--server-token", SERVER_TOKEN, "--allow-anonymous"],
            "contradict each other",
        ),
        (
            vec!["--server-token", SECRET, "--jwt-secret", SECRET],
            "--jwt-secret and --server-token are the same",
        ),
        (
            vec!["--server-token", ""],
            "--server-token: the server token is 0 bytes long",
        ),
        (
            vec!["--server-token", SERVER_TOKEN, "--jwt-issuer", "wiki"],
            "need a key",
        ),
        (vec!["--public-url", "docs.example"], "write https://host"),
        (vec!["--jwt-issuer", "wiki"], "need a key"),
        (
            vec!["--jwt-secret", "short"],
            "--jwt-secret: the HMAC secret is 5 bytes long",
        ),
        (
            vec!["--jwt-secret", ""],
            "--jwt-secret: the HMAC secret is 0 bytes long",
        ),
        (
            vec!["--jwt-public-key", "/nowhere.pem"],
            "--jwt-public-key /nowhere.pem: No such file",
        ),
        (
            vec!["--jwt-public-key", &key_file("rsa1024.public")],
            "the RSA key has 1024 bits",
        ),
        (
            vec!["--allow-origin", "https://a.example,b.example"],
            "--allow-origin: `b.example` is not an origin",
        ),
    ] {
        let sentence = refused(&[&["serve"], arguments.as_slice()].concat());
        assert!(sentence.contains(said), "{sentence}");
    }
    assert!(matches!(
        serve(&["--jwt-public-key", &public_key]).admission,
        Admission::Tokens(_)
    ));
}

#[test]
fn a12_metrics_are_where_the_operator_is() {
    let public_metrics = |arguments: &[&str]| serve(arguments).public_metrics;

    assert!(public_metrics(&[]));
    assert!(!public_metrics(&["--admin-listen=127.0.0.1:0"]));
    assert!(!public_metrics(&["--public-metrics=false"]));
}

#[test]
fn t10_keys_of_all_kinds_are_taken_together() {
    let keys = [
        key_file("p256.public"),
        format!("2026-11={}", key_file("rsa2048.public")),
    ]
    .join(",");
    let secrets = format!("{SECRET}\n{SERVER_TOKEN}\n");

    let together = serve(&[
        "--jwt-secret",
        &secrets,
        "--jwt-secret",
        SECRET,
        "--jwt-public-key",
        &keys,
    ]);

    let said = format!("{:?}", together.admission);
    assert_eq!(said.matches("algorithm: HS256").count(), 3, "{said}");
    assert!(said.contains("id: None, algorithm: ES256"), "{said}");
    assert!(said.contains(r#"id: Some("2026-11"), algorithm: RS256"#), "{said}");
    let short = refused(&["serve", "--jwt-secret", &format!("{SECRET}\nshort")]);
    assert!(short.contains("the HMAC secret is 5 bytes long"), "{short}");
}

#[test]
fn c8_a_port_alone_is_for_this_machine() {
    assert_eq!(
        serve(&["--port=9000"]).listen,
        "127.0.0.1:9000".parse().expect("an address")
    );
    assert_eq!(serve(&["--port=0"]).listen.port(), 0);
    assert!(refused(&["serve", "--port=http"]).ends_with("--listen takes an address as well"));
    let twice = refused(&["serve", "--port=9000", "--listen=127.0.0.1:9000"]);
    assert!(twice.contains("COWRITE_LISTEN and COWRITE_PORT"), "{twice}");
}

#[test]
fn c9_other_programs_words_are_answered_with_ours() {
    for (arguments, said) in [
        (
            &["start"][..],
            "there is no command `start`: did you mean `cowrite serve`?",
        ),
        (
            &["run", "--port=1"],
            "there is no command `run`: did you mean `cowrite serve`?",
        ),
        (&["ls"], "there is no command `ls`: did you mean `cowrite doc list`?"),
        (
            &["serv"],
            "unrecognized subcommand 'serv'; tip: a similar subcommand exists: 'serve'",
        ),
        (
            &["serve", "--host=0.0.0.0"],
            "there is no setting `--host`: did you mean `--listen`?",
        ),
        (
            &["serve", "--log-level", "debug"],
            "there is no setting `--log-level`: RUST_LOG=debug chooses what is logged",
        ),
        (
            &["--port", "9000"],
            "`--port` stands before a command: write `cowrite serve --port …`",
        ),
        (
            &["--cors=*"],
            "`--cors` stands before a command: write `cowrite serve --allow-origin …`",
        ),
    ] {
        assert_eq!(refused(arguments), said);
    }
    let variable = |name: &str| check_environment([OsString::from(name)]).expect_err("no setting");
    assert!(variable("COWRITE_HOST").ends_with("did you mean COWRITE_LISTEN?"));
    assert!(variable("COWRITE_LOG_LEVEL").ends_with("did you mean RUST_LOG?"));
    assert!(variable("COWRITE_PROT").ends_with("did you mean COWRITE_PORT?"));
}

#[test]
fn c9_every_word_that_is_suggested_exists() {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("serve");
    for (meant, others) in near::COMMANDS {
        let found = meant.split(' ').try_fold(&cli, |at, word| at.find_subcommand(word));
        assert!(found.is_some(), "{meant}");
        assert!(others.iter().all(|other| cli.find_subcommand(other).is_none()));
    }
    for (meant, others) in near::SETTINGS {
        let is_setting = |flag: &str| serve.get_arguments().any(|argument| argument.get_long() == Some(flag));
        assert!(is_setting(meant), "{meant}");
        assert!(!others.iter().any(|other| is_setting(other)), "{meant}");
    }
}

#[test]
fn c12_a_public_url_ends_with_the_base_path() {
    let with = |url: &'static str| ["serve", "--base-path=/collab", "--public-url", url];

    for url in [
        "https://docs.example",
        "https://docs.example/",
        "https://docs.example/other",
    ] {
        assert!(
            refused(&with(url)).contains("does not end with --base-path /collab"),
            "{url}"
        );
    }
    for url in ["https://docs.example/collab/", "https://docs.example/team/collab"] {
        assert!(parse(&with(url)).is_ok(), "{url}");
    }
    assert!(parse(&["serve", "--public-url=https://docs.example/stripped"]).is_ok());
    assert!(refused(&["serve", "--base-path=collab"]).ends_with("of letters, digits and `-._~`"));
}

#[test]
fn c6_a_token_is_minted_for_the_servers_key() {
    let key = [
        "--jwt-secret",
        SECRET,
        "--jwt-issuer",
        "wiki",
        "--jwt-audience",
        "cowrite",
    ];
    let arguments = [
        "token",
        "--sub=ada",
        "--name=Ada L",
        "--color=#2266cc",
        "--document=a=b/*=write",
        "--document=*=read",
    ];
    let Ok(Command::Token(request)) = parse(&[&arguments[..], &["--expires=2h"], &key].concat()) else {
        panic!("a token request");
    };

    let token = request.mint(1_000).expect("a token");

    let Admission::Tokens(Keys {
        issuer: Some(server), ..
    }) = serve(&key).admission
    else {
        panic!("a key")
    };
    let documents = [("a=b/*".to_owned(), Access::Write), ("*".to_owned(), Access::Read)];
    let expected = Claims {
        sub: "ada".into(),
        exp: 8_200,
        nbf: None,
        iat: Some(1_000),
        jti: None,
        iss: Some("wiki".to_owned()),
        aud: vec!["cowrite".to_owned()],
        name: Some("Ada L".into()),
        color: Some("#2266cc".into()),
        documents: Grants::new(documents).expect("grants"),
        share: None,
    };
    assert_eq!(server.verify(&token, 1_000_000), Ok(expected));
}

#[test]
fn t18_a_token_is_minted_whose_holder_may_share() {
    let shares = |more: &[&str]| {
        let least = ["token", "--sub=ada", "--document=*=write", "--jwt-secret", SECRET];
        let Ok(Command::Token(request)) = parse(&[&least[..], more].concat()) else {
            panic!("a token request: {more:?}");
        };
        let token = request.mint(1_000).expect("a token");
        let Admission::Tokens(keys) = serve(&["--jwt-secret", SECRET]).admission else {
            panic!("a key")
        };
        let issuer = keys.issuer.expect("an issuer");
        issuer.verify(&token, 1_000_000).expect("a good token").share
    };
    let least = ["token", "--sub=ada", "--document=*=write", "--jwt-secret", SECRET];
    let bad = |more: &[&str]| refused(&[&least[..], more].concat());

    assert_eq!(shares(&[]), None);
    assert_eq!(shares(&["--share"]), Some(Share::default()));
    let narrow = Share {
        documents: Some(Grants::new([("notes/*".to_owned(), Access::Read)]).expect("grants")),
        seconds: Some(7 * 86_400),
        again: true,
    };
    let more = [
        "--share",
        "--share-document=notes/*=read",
        "--share-expires=7d",
        "--share-again",
    ];
    assert_eq!(shares(&more), Some(narrow));
    assert!(bad(&["--share-again"]).contains("--share"));
    assert!(bad(&["--share", "--share-document=x"]).contains("write PATTERN=write or PATTERN=read"));
    assert!(bad(&["--share", "--share-document=x=read", "--share-document=x=write"]).contains("two --share-document"));
    assert!(bad(&["--share", "--share-expires=31d"]).contains("1s to 30d"));
    assert!(bad(&["--share", "--share-expires=0s"]).contains("1s to 30d"));
}

/// A link that servers with these settings make, and whether servers with others believe it.
fn links(flags: &[&str]) -> Option<LinkKeys> {
    match serve(flags).admission {
        Admission::Tokens(keys) => keys.links,
        Admission::Open => None,
    }
}

#[test]
fn t17_links_are_signed_with_what_was_chosen_for_them_or_else_with_what_is_there() {
    const SHARE: &str = "share-secret-0123456789abcdefghi";
    let claims = serde_json::json!({
        "jti": "l", "iat": 1, "exp": 9, "document": "d", "access": "read", "by": [{ "sub": "ada" }],
    });
    let claims = LinkClaims::try_from(claims).expect("claims");
    let public = key_file("p256.public");
    let believe = |by: &[&str], of: &[&str]| {
        let token = links(of).expect("it makes links").mint(&claims);
        links(by).expect("it believes links").verify(&token, 1_000).is_ok()
    };
    let jwt = ["--jwt-secret", SECRET];
    let server = ["--server-token", SERVER_TOKEN];
    let both = ["--jwt-secret", SECRET, "--server-token", SERVER_TOKEN];
    let chosen = ["--jwt-secret", SECRET, "--share-secret", SHARE];
    let elsewhere = ["--jwt-public-key", &public, "--share-secret", SHARE];
    let rotated = format!("new-share-secret-0123456789abcdef\n{SHARE}\n");
    let next = ["--jwt-secret", SECRET, "--share-secret", &rotated];

    assert!(links(&["--jwt-public-key", &public]).is_none(), "nothing to sign with");
    assert!(believe(&jwt, &jwt) && believe(&both, &jwt) && believe(&server, &server));
    assert!(!believe(&both, &server), "the JWT secret comes first");
    assert!(believe(&elsewhere, &chosen) && !believe(&chosen, &jwt));
    assert!(
        believe(&next, &chosen) && !believe(&chosen, &next),
        "the first signs, all are believed"
    );
    assert!(refused(&["serve", "--share-secret", SHARE]).starts_with("--share-secret signs links"));
    assert!(
        refused(&["serve", "--jwt-secret", SECRET, "--share-secret", "short"])
            .starts_with("--share-secret: the HMAC secret is 5 bytes long")
    );
}

#[test]
fn c6_what_cannot_be_a_token_is_refused_before_signing() {
    let with = |more: &[&str]| {
        let least = ["token", "--sub=ada", "--document=*=read", "--jwt-secret", SECRET];
        refused(&[&least[..], more].concat())
    };

    assert!(refused(&["token", "--sub=ada", "--document=*=read"]).starts_with("there is no secret to sign with"));
    assert!(refused(&["token", "--sub=", "--document=*=read", "--jwt-secret", SECRET]).contains("`sub`"));
    assert!(with(&["--color=red"]).contains("`color` claim must be `#rrggbb`"));
    assert!(with(&["--expires=0s"]).contains("at least 1s"));
    assert!(with(&["--document=x=admin"]).contains("write PATTERN=write or PATTERN=read"));
    assert!(with(&["--document=*=write"]).contains("same pattern"));
}

#[test]
fn b2_to_b15_arguments_reach_the_requests() {
    let request = |arguments: &[&str]| match parse(arguments) {
        Ok(Command::Operate(request)) => request,
        other => panic!("{other:?}"),
    };
    let data = PathBuf::from("/tmp/x");
    let plan = DocumentId::parse("plan").expect("a name");
    let restored = |what| Request::Restore {
        from: Target::Folder("b".into()),
        data: data.clone(),
        what,
        partial: false,
    };

    for (arguments, expected) in [
        (
            &["backup", "b", "--keep=1h"][..],
            Request::Backup {
                data: data.clone(),
                to: Target::Folder("b".into()),
                keep: Some(Duration::from_secs(3_600)),
            },
        ),
        (&["restore", "b"], restored(What::Newest)),
        (&["restore", "b", "--run=7"], restored(What::Run(7))),
        (
            &["restore", "b", "--at=1970-01-01T00:00:01.5+00:00"],
            restored(What::At(1_500)),
        ),
        (&["verify"], Request::Verify(Place::Folder(data.clone()))),
        (
            &["verify", "b", "--all"],
            Request::VerifyBackup {
                backup: Target::Folder("b".into()),
                all: true,
            },
        ),
        (
            &["doc", "export", "plan"],
            Request::Export {
                place: Place::Folder(data.clone()),
                document: plan.clone(),
                form: Export::Update,
                to: None,
            },
        ),
        (
            &["doc", "export", "plan", "plan.json", "--as=json"],
            Request::Export {
                place: Place::Folder(data.clone()),
                document: plan.clone(),
                form: Export::Content(Form::Json),
                to: Some("plan.json".into()),
            },
        ),
        (
            &["doc", "import", "plan", "-"],
            Request::Import {
                place: Place::Folder(data.clone()),
                document: plan.clone(),
                from: None,
            },
        ),
        (
            &["doc", "delete", "plan", "--yes"],
            Request::Delete {
                place: Place::Folder(data.clone()),
                document: plan,
            },
        ),
    ] {
        assert_eq!(request(&[arguments, &["--data=/tmp/x"]].concat()), expected);
    }
    assert!(refused(&["doc", "delete", "plan"]).contains("add --yes"));
    assert!(refused(&["restore", "b", "--run=1", "--at=1970-01-01T00:00:01Z"]).contains("cannot be used with"));
}

#[test]
fn c7_the_operators_table_of_settings_is_that_of_the_help() {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("serve");
    let mut expected = String::from("\n| variable | default | meaning |\n|---|---|---|\n");
    for argument in serve.get_arguments().filter(|argument| argument.get_id() != "help") {
        let variable = argument.get_env().and_then(OsStr::to_str).expect("a variable");
        let default = argument.get_default_values().first().and_then(|value| value.to_str());
        let default = default
            .filter(|value| *value != "false")
            .map_or(String::new(), |value| format!("`{value}`"));
        let help = argument.get_help().expect("a help text").to_string().replace('\n', " ");
        expected.push_str(&format!("| `{variable}` | {default} | {help} |\n"));
    }

    let path = format!("{}/docs/operating.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(path).expect("docs/operating.md");
    let (_, table) = document.split_once("by a test -->").expect("the start mark");
    let (table, _) = table.split_once("<!-- /settings -->").expect("the end mark");
    assert_eq!(
        table.trim(),
        expected.trim(),
        "docs/operating.md should say:\n{expected}"
    );
}

#[cfg(feature = "postgres")]
#[test]
fn n1_one_of_several_servers_has_a_database_an_address_and_a_secret() {
    let database = ["serve", "--database-url", "postgres://h/d"];
    let with = |flags: &[&'static str]| [&database[..], flags].concat();
    let address = "--cluster-address=10.0.0.5:7070";
    let secret = "--cluster-secret=0123456789abcdef0123456789abcdef";

    let config = serve(&with(&[address, secret])[1..]);
    let cluster = config.cluster.expect("one of several");
    assert_eq!(cluster.address, "10.0.0.5:7070");
    assert!(!format!("{cluster:?}").contains("0123"));
    assert_eq!(serve(&database[1..]).cluster, None);
    for good in ["node-1:7070", "[fdaa::2]:7070", "127.0.0.1:0"] {
        let flag = format!("--cluster-address={good}");
        assert!(
            parse(&[&database[..], &[flag.as_str(), secret]].concat()).is_ok(),
            "{good}"
        );
    }

    for (flags, says) in [
        (with(&[address]), "COWRITE_CLUSTER_SECRET"),
        (with(&[secret]), "--cluster-address"),
        (vec!["serve", address, secret], "COWRITE_DATABASE_URL"),
        (
            with(&[address, "--cluster-secret=too-short-but-secret"]),
            "openssl rand -hex 32",
        ),
        (with(&["--cluster-address=10.0.0.5", secret]), "HOST:PORT"),
        (with(&["--cluster-address=0.0.0.0:7070", secret]), "no other machine"),
        (with(&["--cluster-address=fdaa::2:7070", secret]), "brackets"),
        (with(&["--cluster-address=:7070", secret]), "HOST:PORT"),
    ] {
        let told = refused(&flags);
        assert!(told.contains(says), "{flags:?}: {told}");
        assert!(!told.contains("too-short"), "{told}");
    }
}
