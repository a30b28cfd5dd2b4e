//! Authentication: trust, password, MD5 and SCRAM.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::Target;
use super::wire::{Connection, SqlError};

/// Answers the server's questions until it says that we are in. Cancelled by the caller's deadline.
pub async fn login(connection: &mut Connection, target: &Target) -> Result<(), SqlError> {
    loop {
        match connection.receive().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                let password = password(connection, target)?.to_vec();
                send_password(connection, &password).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(target.user.as_bytes(), password(connection, target)?, body.salt());
                send_password(connection, hash.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => scram(connection, target, &body).await?,
            Message::ErrorResponse(body) => return Err(connection.rejected(&body)),
            Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
            _ => return Err(connection.login_failed("the server asks for a kind of authentication that is not supported (GSS, SSPI, Kerberos): use scram-sha-256 or a certificate in pg_hba.conf")),
        }
    }
}

fn password<'t>(connection: &Connection, target: &'t Target) -> Result<&'t [u8], SqlError> {
    let password = target.password.as_ref().map(|secret| secret.expose().as_bytes());
    password.ok_or_else(|| {
        connection.login_failed("the server asks for a password and none is configured (postgresql.authentication)")
    })
}

async fn send_password(connection: &mut Connection, password: &[u8]) -> Result<(), SqlError> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message).map_err(|e| connection.login_failed(&e.to_string()))?;
    connection.send(&message).await
}

async fn scram(connection: &mut Connection, target: &Target, offered: &AuthenticationSaslBody) -> Result<(), SqlError> {
    let failed = |c: &Connection, e: std::io::Error| c.login_failed(&format!("SCRAM: {e}"));
    let (mechanism, binding) = choose(connection, target, offered)?;
    let mut scram = ScramSha256::new(password(connection, target)?, binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut message).map_err(|e| failed(connection, e))?;
    connection.send(&message).await?;
    match connection.receive().await? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data()).map_err(|e| failed(connection, e))?,
        Message::ErrorResponse(body) => return Err(connection.rejected(&body)),
        _ => return Err(connection.login_failed("SCRAM: unexpected answer")),
    }
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(|e| failed(connection, e))?;
    connection.send(&message).await?;
    match connection.receive().await? {
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(|e| failed(connection, e)),
        Message::ErrorResponse(body) => Err(connection.rejected(&body)),
        _ => Err(connection.login_failed("SCRAM: unexpected answer")),
    }
}

fn choose(
    connection: &Connection,
    target: &Target,
    offered: &AuthenticationSaslBody,
) -> Result<(&'static str, ChannelBinding), SqlError> {
    let offered: Vec<String> = offered
        .mechanisms()
        .map(|m| Ok(m.to_owned()))
        .collect()
        .map_err(|e| connection.login_failed(&e.to_string()))?;
    let offers = |name: &str| offered.iter().any(|mechanism| mechanism == name);
    let wish = target.parameter("channel_binding").unwrap_or("prefer");
    let end_point = connection.end_point().filter(|_| wish != "disable");
    match end_point {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
            Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash)))
        }
        Some(_) | None if wish == "require" => Err(connection.login_failed(
            "channel_binding is 'require' and the connection has none (it needs TLS and a server that offers SCRAM-SHA-256-PLUS)",
        )),
        Some(_) if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        None if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
        Some(_) | None => Err(connection.login_failed("the server offers no SASL mechanism that is supported")),
    }
}
