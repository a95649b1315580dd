//! Which environment variables hold secrets, by their names; pure.

/// Words that say that a value is secret.
const SECRET: [&str; 40] = [
    "ACCESSKEY",
    "ACCESSTOKEN",
    "APIKEY",
    "APIKEYS",
    "APITOKEN",
    "AUTH",
    "AUTHORIZATION",
    "AUTHTOKEN",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "ENCRYPTIONKEY",
    "JWT",
    "KEY",
    "KEYS",
    "MNEMONIC",
    "OAUTH",
    "PASS",
    "PASSCODE",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PAT",
    "PGPASSWORD",
    "PRIVATE",
    "PRIVATEKEY",
    "PWD",
    "SECRET",
    "SECRETKEY",
    "SECRETS",
    "SIGNATURE",
    "SSHPASS",
    "TOKEN",
    "TOKENS",
    "WEBHOOK",
];

/// Last words that say that the value is something about a secret and not one itself.
const ABOUT: [&str; 46] = [
    "ALG",
    "ALGORITHM",
    "ALIAS",
    "AUDIENCE",
    "BASE",
    "COUNT",
    "DIR",
    "DIRECTORY",
    "DISABLED",
    "DOMAIN",
    "EMAIL",
    "ENABLED",
    "ENDPOINT",
    "EXPIRES",
    "EXPIRY",
    "FILE",
    "FORMAT",
    "HELPER",
    "HOST",
    "HOSTNAME",
    "ID",
    "ISSUER",
    "LEN",
    "LENGTH",
    "LIMIT",
    "MAX",
    "METHOD",
    "MIN",
    "MODE",
    "NAME",
    "PATH",
    "PORT",
    "PREFIX",
    "PROVIDER",
    "REGION",
    "SCOPE",
    "SCOPES",
    "SECONDS",
    "SIZE",
    "SOCK",
    "SOCKET",
    "TIMEOUT",
    "TTL",
    "TYPE",
    "USER",
    "USERNAME",
];

/// Words with which a whole URL is a secret, and not only a password in it.
const SECRET_URL: [&str; 2] = ["DSN", "WEBHOOK"];

/// Whether the variable's value is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    // Shells keep the working directory in these.
    if ["PWD", "OLDPWD"].contains(&name) {
        return false;
    }
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let Some(last) = words.last().map(String::as_str) else {
        return false;
    };
    if ["URL", "URI"].contains(&last) {
        return has(&SECRET_URL);
    }
    if words.ends_with(&["CONNECTION".to_owned(), "STRING".to_owned()]) {
        return true;
    }
    has(&SECRET) && !ABOUT.contains(&last) && !has(&["PUBLIC"])
}

/// A name's words in capitals: `MY_API_KEY`, `my-api-key` and `myApiKey` have the same three.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for letter in name.chars() {
        let begins = !letter.is_alphanumeric() || (after_small && letter.is_uppercase());
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_uppercase());
        }
        after_small = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "DB_PASSWORD",
            "MYSQL_PWD",
            "apiKey",
            "npm_config__auth",
            "SENTRY_DSN",
            "SLACK_WEBHOOK_URL",
            "GITLAB_PAT",
            "AWS_SECRET_ACCESS_KEY",
            "my-private-key",
            "PGPASSWORD",
            "SSHPASS",
            "AZURE_STORAGE_CONNECTION_STRING",
            "JWT",
        ] {
            assert!(is_secret(name), "{name}");
        }
    }

    #[test]
    fn names_about_secrets_are_no_secrets() {
        for name in [
            "PATH",
            "HOME",
            "PWD",
            "OLDPWD",
            "SSH_AUTH_SOCK",
            "AWS_ACCESS_KEY_ID",
            "API_KEY_FILE",
            "TOKEN_URL",
            "XAUTHORITY",
            "TOKEN_TTL",
            "DB_PASSWORD_PATH",
            "STRIPE_PUBLIC_KEY",
            "KEYBOARD",
            "MONKEY",
            "",
            "_",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
