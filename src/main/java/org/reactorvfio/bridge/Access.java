package org.reactorvfio.bridge;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Who may do what: bearer tokens with their permissions. */
final class Access {
  private static final String SCHEME = "Bearer ";

  private final List<Token> tokens = new ArrayList<>();
  private final RateLimit strangers;

  /** A token's digest: comparing digests of one length takes the same time whatever was sent. */
  static final class Token {
    private final byte[] digest;
    private final Set<Permission> permissions;
    private final RateLimit requests;

    Token(byte[] digest, Set<Permission> permissions, RateLimit requests) {
      this.digest = digest;
      this.permissions = permissions;
      this.requests = requests;
    }

    Set<Permission> permissions() {
      return permissions;
    }
  }

  Access(int requestsPerSecond) {
    this.strangers = new RateLimit(requestsPerSecond, System.nanoTime());
  }

  void add(String secret, Set<Permission> permissions, int requestsPerSecond) {
    tokens.add(new Token(
        digest(secret), permissions, new RateLimit(requestsPerSecond, System.nanoTime())));
  }

  /** Whose request this is, null if nobody's. Looks at all tokens, so that the time tells nothing. */
  @Nullable Token find(@Nullable String authorization) {
    String header = authorization == null ? "" : authorization;
    boolean bearer = header.regionMatches(true, 0, SCHEME, 0, SCHEME.length());
    byte[] shown = digest(bearer ? header.substring(SCHEME.length()) : "");
    Token found = null;
    for (Token token : tokens) {
      if (MessageDigest.isEqual(token.digest, shown)) {
        found = token;
      }
    }
    return bearer ? found : null;
  }

  /** Whether there is room for another request: of a token, or of those without. */
  boolean admits(@Nullable Token token) {
    return (token == null ? strangers : token.requests).take(System.nanoTime()) == 0;
  }

  private static byte[] digest(String secret) {
    return digest(secret.getBytes(StandardCharsets.UTF_8));
  }

  static byte[] digest(byte[] secret) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(secret);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }
}
