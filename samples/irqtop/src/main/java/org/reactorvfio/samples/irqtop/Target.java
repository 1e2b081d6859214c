package org.reactorvfio.samples.irqtop;

import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import org.reactorvfio.PciAddress;

/** What a device is named by on the command line. */
sealed interface Target {
  String FORMS =
      "a PCI address, http://HOST:PORT/NAME, https://HOST:PORT/NAME, unix:///PATH#NAME or demo";

  /** How it is shown: without spaces. */
  String label();

  /** A function of this machine that is bound to a VFIO driver. */
  record Local(PciAddress address) implements Target {
    @Override
    public String label() {
      return address.toString();
    }
  }

  /** A device that another process exports. */
  record Remote(URI server, String name) implements Target {
    @Override
    public String label() {
      return name.replaceAll("\\s", "_");
    }
  }

  /** An emulated device, which this process exports for trying. */
  record Demo() implements Target {
    @Override
    public String label() {
      return "demo";
    }
  }

  /** Reads a device's name; fails with {@link UsageException}. */
  static Target parse(String text) {
    if (text.equals("demo")) {
      return new Demo();
    }
    if (text.contains("://") || text.startsWith("unix:")) {
      URI uri = uri(text);
      boolean unix = "unix".equals(uri.getScheme());
      String path = unix ? uri.getFragment() : uri.getPath();
      String name = path == null ? "" : unix ? path : path.replaceFirst("^/", "");
      if (name.isEmpty()) {
        throw new UsageException(text + " names no device: it is " + FORMS);
      }
      return new Remote(server(uri), name);
    }
    try {
      return new Local(PciAddress.parse(text));
    } catch (IllegalArgumentException e) {
      throw new UsageException(text + " is no device: that is " + FORMS);
    }
  }

  /** Reads a server's address, which may have a device's name behind it. */
  static URI server(String text) {
    return server(uri(text));
  }

  /** How a device of a server is named on the command line. */
  static String text(URI server, String name) {
    boolean unix = "unix".equals(server.getScheme());
    String quoted =
        URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20").replace("%3A", ":");
    return server + (unix ? "#" : "/") + quoted;
  }

  private static URI server(URI uri) {
    String there = "unix".equals(uri.getScheme())
        ? "unix://" + uri.getRawPath()
        : uri.getScheme() + "://" + uri.getRawAuthority();
    return URI.create(there);
  }

  private static URI uri(String text) {
    try {
      URI uri = URI.create(text);
      boolean unix = "unix".equals(uri.getScheme()) && uri.getPath() != null;
      boolean network =
          Pattern.matches("https?", String.valueOf(uri.getScheme())) && uri.getHost() != null;
      if (unix || network) {
        return uri;
      }
    } catch (IllegalArgumentException e) {
      // Said below.
    }
    throw new UsageException(
        text + " is no server: that is http://HOST:PORT, https://HOST:PORT or unix:///PATH");
  }
}
