package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.security.SecureRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The unguessable name of a session.
 *
 * @param high its first 8 bytes
 * @param low its last 8 bytes
 */
record Session(long high, long low) {
  /** No session: asks for a new one. */
  static final Session NONE = new Session(0, 0);

  /** Makes names out of a secret and a number, as nobody can without the secret; reading random numbers would block. */
  static final class Names {
    private final byte[] secret = new byte[32];
    private final AtomicLong number = new AtomicLong();

    Names(SecureRandom random) {
      random.nextBytes(secret);
    }

    Session next() {
      ByteBuffer from = ByteBuffer.allocate(secret.length + Long.BYTES);
      from.put(secret).putLong(number.incrementAndGet());
      ByteBuffer name = ByteBuffer.wrap(Access.digest(from.array()));
      return new Session(name.getLong(), name.getLong());
    }
  }

  @Override
  public String toString() {
    return "a session"; // its name is a secret
  }
}
