//! Which environment variables are secret, by their names.

/// Words in the names of secret variables.
const SECRET_WORDS: &str = "\
    ACCESSKEY ACCESSTOKEN APIKEY APIKEYS APITOKEN AUTH AUTHORIZATION AUTHTOKEN BEARER COOKIE COOKIES \
    CREDENTIAL CREDENTIALS CREDS DSN ENCRYPTIONKEY JWT KEY KEYS MNEMONIC OAUTH PASS PASSCODE PASSPHRASE \
    PASSWD PASSWORD PASSWORDS PAT PGPASSWORD PRIVATE PRIVATEKEY PWD SECRET SECRETKEY SECRETS SIGNATURE \
    SSHPASS TOKEN TOKENS WEBHOOK";

/// Last words of variables that describe a secret and are not one.
const METADATA_WORDS: &str = "\
    ALG ALGORITHM ALIAS AUDIENCE BASE COUNT DIR DIRECTORY DISABLED DOMAIN EMAIL ENABLED ENDPOINT EXPIRES \
    EXPIRY FILE FORMAT HELPER HOST HOSTNAME ID ISSUER LEN LENGTH LIMIT MAX METHOD MIN MODE NAME PATH PORT \
    PREFIX PROVIDER REGION SCOPE SCOPES SECONDS SIZE SOCK SOCKET TIMEOUT TTL TYPE USER USERNAME";

/// Words in the names of numbers.
const COUNT_WORDS: &str = "BUDGET COUNT LIMIT MAX MIN NUM NUMBER PORT SIZE TIMEOUT TOKENS TTL USES";

/// Words in the names of variables whose whole URL is secret, and not only a password in it.
const SECRET_URL_WORDS: &str = "DSN WEBHOOK";

/// Whether the variable's value is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    // These are the working directories of shells.
    if ["PWD", "OLDPWD"].contains(&name) {
        return false;
    }
    let words = words(name);
    let has = |list: &str| list.split(' ').any(|listed| words.iter().any(|word| word == listed));
    let Some(last) = words.last().map(String::as_str) else {
        return false;
    };
    if ["URL", "URI"].contains(&last) {
        return has(SECRET_URL_WORDS);
    }
    if words.ends_with(&["CONNECTION".to_owned(), "STRING".to_owned()]) {
        return true;
    }
    has(SECRET_WORDS) && !METADATA_WORDS.split(' ').any(|word| word == last) && !has("PUBLIC")
}

/// Whether the name is that of a number of something, such as `MAX_TOKENS`.
pub(super) fn is_count(name: &str) -> bool {
    words(name)
        .iter()
        .any(|word| COUNT_WORDS.split(' ').any(|count| word == count))
}

/// The words of a name in capitals: `MY_API_KEY`, `my-api-key` and `myApiKey` have the same three words.
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
    fn names_of_secrets_are_recognized() {
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
    fn names_about_secrets_are_not_secret() {
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
