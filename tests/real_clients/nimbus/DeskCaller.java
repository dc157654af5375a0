// SPDX-License-Identifier: Apache-2.0
// A client of a token desk made of Nimbus' OAuth SDK: java DeskCaller.java URL ISSUER SUBJECT_TOKEN AUDIENCE KEY SECRET
// KEY is the private JWK of the client "by-key", SECRET that of "by-secret". Prints one line a step: its name and what came.
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.oauth2.sdk.Scope;
import com.nimbusds.oauth2.sdk.TokenIntrospectionRequest;
import com.nimbusds.oauth2.sdk.TokenIntrospectionResponse;
import com.nimbusds.oauth2.sdk.TokenRequest;
import com.nimbusds.oauth2.sdk.TokenResponse;
import com.nimbusds.oauth2.sdk.TokenRevocationRequest;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.ClientAuthentication;
import com.nimbusds.oauth2.sdk.auth.ClientSecretBasic;
import com.nimbusds.oauth2.sdk.auth.ClientSecretPost;
import com.nimbusds.oauth2.sdk.auth.JWTAuthenticationClaimsSet;
import com.nimbusds.oauth2.sdk.auth.PrivateKeyJWT;
import com.nimbusds.oauth2.sdk.auth.Secret;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.http.HTTPResponse;
import com.nimbusds.oauth2.sdk.id.Audience;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.token.AccessToken;
import com.nimbusds.oauth2.sdk.token.BearerAccessToken;
import com.nimbusds.oauth2.sdk.token.TokenTypeURI;
import com.nimbusds.oauth2.sdk.token.TypelessAccessToken;
import com.nimbusds.oauth2.sdk.tokenexchange.TokenExchangeGrant;
import java.net.URI;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

public final class DeskCaller {
    private final String url;
    private final String issuer;

    private DeskCaller(String url, String issuer) {
        this.url = url;
        this.issuer = issuer;
    }

    public static void main(String[] arguments) throws Exception {
        DeskCaller caller = new DeskCaller(arguments[0], arguments[1]);
        String subject = arguments[2];
        String audience = arguments[3];
        ECKey key = ECKey.parse(arguments[4]);
        Secret secret = new Secret(arguments[5]);

        AuthorizationServerMetadata metadata = AuthorizationServerMetadata.parse(
            caller.get("/.well-known/oauth-authorization-server").getBodyAsJSONObject());
        say("metadata", metadata.getIssuer().getValue());
        say("endpoints", metadata.getTokenEndpointURI() + " " + metadata.getIntrospectionEndpointURI() + " "
            + metadata.getRevocationEndpointURI() + " " + metadata.getJWKSetURI());

        TokenResponse refused = caller.exchange(subject, audience, "web");
        say("refused", refused.toErrorResponse().getErrorObject().getCode());

        TokenResponse given = caller.exchange(subject, audience, "ios");
        if (!given.indicatesSuccess()) {
            throw new IllegalStateException(given.toErrorResponse().toJSONObject().toJSONString());
        }
        BearerAccessToken token = given.toSuccessResponse().getTokens().getBearerAccessToken();
        say("exchanged", token.getScope() + " " + token.getIssuedTokenType() + " " + (token.getLifetime() <= 600)
            + " " + given.toSuccessResponse().getTokens().getRefreshToken());

        JWTClaimsSet claims = caller.verified(token);
        say("verified", claims.getAudience() + " " + claims.getIssuer() + " " + claims.getStringClaim("client_id"));

        List<ClientAuthentication> ways = List.of(
            new ClientSecretBasic(new ClientID("by-secret"), secret),
            new ClientSecretPost(new ClientID("by-secret"), secret),
            // RFC 10070: the audience of an assertion is the issuer.
            new PrivateKeyJWT(
                new JWTAuthenticationClaimsSet(new ClientID("by-key"), new Audience(caller.issuer)),
                JWSAlgorithm.ES256, key.toPrivateKey(), key.getKeyID(), null));
        for (ClientAuthentication way : ways) {
            TokenIntrospectionResponse answer = caller.introspect(way, token);
            say("introspected " + way.getMethod(), answer.toSuccessResponse().isActive() + " "
                + answer.toSuccessResponse().getAudience() + " " + answer.toSuccessResponse().getScope());
        }

        ClientID own = new ClientID(claims.getStringClaim("client_id"));
        HTTPResponse revoked = new TokenRevocationRequest(URI.create(caller.url + "/oauth2/revoke"), own, token)
            .toHTTPRequest().send();
        say("revoked", String.valueOf(revoked.getStatusCode()));
        say("afterwards", caller.introspect(ways.get(0), token).toSuccessResponse().toJSONObject().toJSONString());
    }

    private TokenResponse exchange(String subject, String audience, String project) throws Exception {
        TokenExchangeGrant grant = new TokenExchangeGrant(
            new TypelessAccessToken(subject), TokenTypeURI.JWT, null, null, null,
            List.of(new Audience(audience)));
        HTTPRequest request = new TokenRequest.Builder(URI.create(url + "/oauth2/token"), grant)
            .scope(new Scope("cache:read"))
            .customParameter("account", "acme")
            .customParameter("project", project)
            .build()
            .toHTTPRequest();
        return TokenResponse.parse(request.send());
    }

    private JWTClaimsSet verified(AccessToken token) throws Exception {
        JWKSet keys = JWKSet.parse(get("/.well-known/jwks.json").getBody());
        DefaultJWTProcessor<com.nimbusds.jose.proc.SecurityContext> processor = new DefaultJWTProcessor<>();
        // RFC 9068, section 4: the type is at+jwt and nothing else.
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        processor.setJWSKeySelector(
            new JWSVerificationKeySelector<>(JWSAlgorithm.ES256, new ImmutableJWKSet<>(keys)));
        Set<String> required = new HashSet<>(Arrays.asList("sub", "client_id", "aud", "jti", "iat", "exp"));
        processor.setJWTClaimsSetVerifier(
            new DefaultJWTClaimsVerifier<>(new JWTClaimsSet.Builder().issuer(issuer).build(), required));
        return processor.process(token.getValue(), null);
    }

    private TokenIntrospectionResponse introspect(ClientAuthentication way, AccessToken token) throws Exception {
        HTTPRequest request = new TokenIntrospectionRequest(URI.create(url + "/oauth2/introspect"), way, token)
            .toHTTPRequest();
        return TokenIntrospectionResponse.parse(request.send());
    }

    private HTTPResponse get(String path) throws Exception {
        return new HTTPRequest(HTTPRequest.Method.GET, URI.create(url + path)).send();
    }

    private static void say(String name, String what) {
        System.out.println(name + ": " + what);
    }
}
