package org.reactorvfio.bridge;

import java.net.URI;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * By which names a server is asked, and from where. Browsers say both truly: a page of another origin has no business here, and on a
 * loopback address neither has one whose own name was made to lead here (DNS rebinding).
 */
final class Names {
  private final boolean any;
  private final String host;

  /**
   * @param host where the server listens
   * @param any whether it is asked by names that it cannot know: on a Unix-domain socket, or on an address that is not loopback
   */
  Names(String host, boolean any) {
    this.host = host.toLowerCase(Locale.ROOT);
    this.any = any;
  }

  /** Whether the server has the name that the header {@code Host} gives. */
  boolean has(@Nullable String header) {
    if (any) {
      return true;
    }
    String name = header == null ? "" : hostOf(header);
    return name.equals(host)
        || name.equals("localhost")
        || name.equals("[::1]")
        || name.matches("127\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}");
  }

  private static String hostOf(String authority) {
    return authority.toLowerCase(Locale.ROOT).replaceFirst(":\\d*$", "");
  }

  /** Whether a page of this origin was served under this name. */
  static boolean sameOrigin(String origin, @Nullable String header) {
    URI uri;
    try {
      uri = URI.create(origin);
    } catch (IllegalArgumentException e) {
      return false;
    }
    String authority = uri.getRawAuthority();
    String usual = "https".equals(uri.getScheme()) ? ":443" : ":80";
    return authority != null
        && header != null
        && without(usual, authority).equals(without(usual, header));
  }

  private static String without(String port, String authority) {
    String lower = authority.toLowerCase(Locale.ROOT);
    return lower.endsWith(port) ? lower.substring(0, lower.length() - port.length()) : lower;
  }
}
